#![doc = include_str!("../README.md")]

mod event;
mod metrics;
mod queue;
mod settings;
mod shipper;

pub use event::{RequestLogEvent, RequestLogged};
pub use queue::RequestLogQueue;
pub use settings::{DEFAULTS, RequestLogSettings};
pub use shipper::{Shipper, request_log};
