//! The crate on a real Redis and a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail like the test")]

mod harness;
mod sink;

mod cluster;
mod fence;
mod guard;
mod lease;
mod list;
mod partition;
mod queue;
mod redis;
mod sentinel;
