//! The gateway as it runs in production, in front of an upstream that tests command.
#![expect(clippy::unwrap_used, reason = "a test's helpers fail like the test")]

mod auth;
mod bodies;
mod circuit;
mod configuration;
mod cors;
mod deadlines;
mod harness;
mod headers;
mod quota;
mod request_log;
mod routes;
mod stop;
mod streaming;
mod traces;
mod upstream;
