#![doc = include_str!("../README.md")]

mod app;
pub mod config;
mod consumers;
mod domain;
mod http;
mod jobs;
mod metrics;
pub mod startup;
mod store;
mod wire;

pub use config::Settings;
pub use http::openapi::document as openapi_document;

/// This service's own tables, versions from 100; the outbox's and the fence's come before them.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
