#![doc = include_str!("../README.md")]
#![expect(clippy::missing_panics_doc, reason = "a test fails by panicking")]

mod service;
mod system;

pub use service::Service;
pub use system::{PAYMENT_SECRET, Start, System};

use std::time::Duration;

/// A cap for a machine that stands still for a while: waits end when the state is there, mostly within a second.
pub const PATIENCE: Duration = Duration::from_secs(60);
