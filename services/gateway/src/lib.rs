#![doc = include_str!("../README.md")]

mod config;
mod health;
mod http;
mod metrics;
mod openapi;
mod routes;
pub mod startup;
mod upstream;

pub use config::{DEFAULTS, Settings};
