#![doc = include_str!("../README.md")]

pub mod fence;
mod guard;
mod health;
mod lease;
mod metrics;
mod migrations;
mod redis;
mod scripts;
mod settings;
mod token;

pub use guard::{LeaseGuard, LeaseLost};
pub use health::RedisHealth;
pub use lease::{Lease, LeaseError, Leases};
pub use migrations::MIGRATIONS;
pub use redis::{Redis, RedisError};
pub use settings::{DEFAULTS, RedisSettings};
pub use token::FencingToken;
