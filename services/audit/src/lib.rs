#![doc = include_str!("../README.md")]

mod app;
pub mod config;
mod consumers;
mod domain;
pub mod http;
mod metrics;
pub mod startup;
mod store;
mod wire;

pub use config::Settings;

/// The tables of the audit database.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
