//! A service built from the chassis, with real Kafka.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod consumers;
mod harness;
mod leases;
mod schedules;
