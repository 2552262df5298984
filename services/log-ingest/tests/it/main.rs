//! Log-ingest on real PostgreSQL and Kafka.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail like the test")]

mod bad_input;
mod configuration;
mod cursors;
mod filters;
mod harness;
mod identity;
mod lines;
mod openapi;
mod partitions;
mod rights;
