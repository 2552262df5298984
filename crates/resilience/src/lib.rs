#![doc = include_str!("../README.md")]

pub mod backoff;
pub mod breaker;
pub mod class;
pub mod deadline;
pub mod rate_limit;

pub use backoff::Backoff;
pub use breaker::Breaker;
pub use class::{Class, Classify};
pub use deadline::Deadline;
pub use rate_limit::RateLimit;
