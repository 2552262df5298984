//! The promises of docs/data-flow.md, on five real processes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod broker_down;
mod configuration;
mod expiry;
mod garbage;
mod kill_9;
mod no_oversell;
mod order_saga;
mod postgres_down;
mod redelivery;
mod redis_down;
mod request_logs;
mod shutdown;
mod trace_stitching;
