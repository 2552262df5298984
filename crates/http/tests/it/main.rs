//! The chain over real sockets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod auth;
mod bad_input;
mod failures;
mod harness;
mod health;
mod stop;
mod traces;
