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

/// This service's own tables, versions from 100; the chassis' come before them.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");
