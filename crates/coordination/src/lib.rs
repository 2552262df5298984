#![doc = include_str!("../README.md")]

mod fence;
mod guard;
mod health;
mod lease;
mod metrics;
mod migrations;
mod redis;
mod scripts;
mod settings;
mod token;

pub use self::redis::{Redis, RedisConnection, RedisError};
pub use guard::{Exempt, Fenced, FencedError, FencedTransaction, LeaseGuard, LeaseLost, WritePath};
pub use health::RedisHealth;
pub use lease::{
    HeldStatus, Lease, LeaseError, LeaseList, LeaseStatus, Leases, SinkStatus, WAITERS_MAX,
};
pub use migrations::MIGRATIONS;
pub use settings::{DEFAULTS, RedisMode, RedisSettings};
pub use token::FencingToken;
