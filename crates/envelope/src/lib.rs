#![doc = include_str!("../README.md")]

mod context;
mod error_code;
mod event;
mod headers;
mod record;
mod topic;

pub use context::{MessageContext, TraceContext};
pub use error_code::ErrorCode;
pub use event::{DecodeError, Envelope, Event, PartitionKey, ReadError};
pub use headers::{read_context, text_header};
pub use record::EncodedRecord;
pub use topic::{ConsumerGroup, RetryTier, Topic, TopicName};

#[doc(hidden)]
pub mod macros {
    //! What the macros of this crate name in the code they write.
    pub use serde_json;
}
