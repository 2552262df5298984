//! The messaging crate on a real broker.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod admin;
mod broker_faults;
mod commit_gap;
mod control;
mod dead_letters;
mod epochs;
mod events;
mod faults;
mod flow;
mod garbage;
mod harness;
mod idle_members;
mod letter_batches;
mod letters;
mod modes;
mod offset_map;
mod order;
mod producer;
mod producer_queue;
mod rebalance;
mod retries;
mod standstill;
mod stop;
mod stop_in_doubt;
mod stop_while_joining;
mod topic_faults;
mod tracing_context;
