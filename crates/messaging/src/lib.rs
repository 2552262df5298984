#![doc = include_str!("../README.md")]

pub mod admin;
mod client;
pub mod codes;
mod consumer;
mod ffi;
mod handler;
mod metrics;
mod naming;
mod producer;
mod settings;

pub use consumer::{ConsumeError, ConsumerHandle, ConsumerHealth, consume};
pub use handler::{Batch, Deliveries, Delivery, Handler, HandlerError};
pub use producer::{Producer, ProducerProfile, PublishError, RecordPosition};
pub use settings::{DEFAULTS, KafkaSettings};
