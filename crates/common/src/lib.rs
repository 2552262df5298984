#![doc = include_str!("../README.md")]

mod admin;
mod application;
mod chassis;
pub mod codes;
mod health;
mod run;
pub mod schedules;
mod service_tasks;
mod settings;

/// What a service's binary allocates with: `#[global_allocator] static ALLOCATOR: Allocator = Allocator;`.
///
/// A record is allocated by the thread that polls and freed by the one that handles it, which the C library's allocator
/// is slow at. It is the binary's choice, so nothing here makes it.
pub use mimalloc::MiMalloc as Allocator;

pub use application::Application;
pub use chassis::{Chassis, StartError};
pub use run::{load_settings, run};
pub use service_tasks::{SchedulerStores, ServiceTasks, TASKS_AT_ONCE, UPKEEP};
pub use settings::{BaseSettings, SHUTDOWN_DEFAULTS, ServiceSettings, ShutdownSettings};

pub use millrace_coordination as coordination;
pub use millrace_envelope as envelope;
pub use millrace_http as http;
pub use millrace_messaging as messaging;
pub use millrace_outbox as outbox;
pub use millrace_request_log as request_log;
pub use millrace_resilience as resilience;
pub use millrace_runtime as runtime;
pub use millrace_scheduler as scheduler;
pub use millrace_telemetry as telemetry;

/// Compiles what docs/guide-consumer.md shows.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide-consumer.md")]
struct Guide;
