#![doc = include_str!("../README.md")]

mod app;
pub mod config;
mod consumers;
mod domain;
mod http;
mod metrics;
pub mod startup;
mod store;
mod tasks;
mod wire;

pub use config::Settings;
pub use http::openapi::document as openapi_document;

/// The service's name in logs, traces, metrics and events.
pub const SERVICE: &str = "inventory";

/// The tables of the inventory database, beside those of the outbox crate.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
