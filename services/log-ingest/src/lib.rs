#![doc = include_str!("../README.md")]

pub mod config;
mod consumers;
pub mod http;
mod jobs;
mod metrics;
mod pipeline;
mod search;
pub mod startup;

pub use config::Settings;

/// The tables of the log database.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
