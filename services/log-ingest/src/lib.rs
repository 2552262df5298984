#![doc = include_str!("../README.md")]

pub mod config;
mod consumers;
pub mod http;
mod metrics;
mod partition_upkeep;
mod pipeline;
mod search;
pub mod startup;

pub use config::Settings;

/// The service's own tables of the log database; the chassis' come before them.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
