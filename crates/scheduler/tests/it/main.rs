//! The crate against an oracle, in tables, and on a real PostgreSQL, Redis and broker.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail like the test")]

mod calendar;
mod dispatch;
mod endurance;
mod harness;
mod history;
mod policy;
mod sabotage;
mod schedules;
mod watch;
mod worker;
