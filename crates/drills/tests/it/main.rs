//! The short forms of the messaging drill.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod calm;
mod crash;
mod freeze;
mod harness;
mod sabotage;
