//! The crate on a real PostgreSQL and a real broker.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail like the test")]

mod aside;
mod database;
mod dead_letters;
mod epochs;
mod harness;
mod idempotency;
mod inbox;
mod records;
mod relay_faults;
mod relay_floor;
mod relay_order;
mod relay_speed;
mod relay_wakeup;
mod stopped_owner;
