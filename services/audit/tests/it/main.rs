//! The audit service on real PostgreSQL and Kafka.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail like the test")]

mod append_only;
mod bad_input;
mod configuration;
mod cursors;
mod filters;
mod harness;
mod identity;
mod openapi;
mod records;
