//! The messaging crate on a real broker.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod admin;
mod dead_letters;
mod faults;
mod flow;
mod harness;
mod order;
mod producer;
mod rebalance;
mod stop;
mod tracing_context;
