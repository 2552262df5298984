//! The crate on a real PostgreSQL and a real broker.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail like the test")]

mod harness;

mod database;
mod idempotency;
mod inbox;
mod records;
mod relay_faults;
mod relay_order;
