#![doc = include_str!("../README.md")]

pub mod admin;
mod client;
pub mod codes;
mod consumer;
mod epoch;
mod ffi;
mod handler;
mod letter;
mod message;
mod metrics;
mod naming;
mod producer;
mod settings;

pub use consumer::{
    ConsumeError, Consumer, ConsumerEvent, ConsumerHandle, ConsumerHealth, Mode, RetryPolicy,
    RetryPolicyError, Route,
};
pub use epoch::{Epoch, EpochStore};
pub use handler::{Batch, Delivery, Each, Handler, HandlerError, Outcome, Outcomes, each};
pub use letter::{DeadLetter, DeadLetterStore, RawOutgoing};
pub use message::{Message, RawMessage, RawRecord, Unreadable};
pub use metrics::QueueCounts;
pub use producer::queue::{
    Left, OverflowPolicy, ProducerQueue, QueueOptions, Refusal, Refused, Undelivered,
};
pub use producer::{
    Answer, OrderedProducer, Producer, ProducerProfile, PublishError, RecordPosition,
};
pub use settings::{DEFAULTS, GroupProtocol, KafkaSettings};
