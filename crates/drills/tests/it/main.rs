//! The short forms of the messaging drill.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![expect(clippy::print_stdout, reason = "a drill that fails is replayed by its seed")]
#![expect(clippy::large_futures, reason = "a test's future is made once")]

mod calm;
mod crash;
mod exclusive;
mod freeze;
mod harness;
mod lease_harness;
mod lease_sabotage;
mod leases;
mod sabotage;
mod schedules;
