#![doc = include_str!("../README.md")]

mod error_chain;
mod export;
mod fields;
mod level;
mod log_line;
mod redaction;
mod settings;
mod sink;
mod spans;
mod start;
mod trace;

pub mod metrics;

pub use error_chain::error_chain;
pub use level::set_log_level;
pub use settings::{DEFAULTS, TelemetrySettings};
pub use sink::LogCapture;
pub use spans::db_span;
pub use start::{TelemetryError, TelemetryGuard, init, init_for_tests, panics_are_logged, service};
pub use trace::{
    add_link, continue_message, current_trace, current_trace_id, set_parent, trace_of,
};
