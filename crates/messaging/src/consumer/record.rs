//! One record as it came from the broker, owned, untouched.

use rdkafka::Timestamp;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};

#[derive(Debug)]
pub(super) struct Record {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp: Timestamp,
    pub(super) key: Option<Vec<u8>>,
    pub(super) payload: Option<Vec<u8>>,
    pub(super) headers: OwnedHeaders,
    /// Key and value; what a partition's bounds count.
    pub(super) bytes: usize,
}

/// A header as it is: a name, and a value that may be null.
pub(super) type HeaderRef<'a> = (&'a str, Option<&'a [u8]>);

impl Record {
    pub(super) fn of(message: &BorrowedMessage<'_>) -> Self {
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp(),
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().map(<[u8]>::to_vec),
            headers: message.headers().map_or_else(OwnedHeaders::new, |headers| headers.detach()),
            bytes: message.key_len() + message.payload_len(),
        }
    }

    pub(super) fn timestamp_ms(&self) -> Option<i64> {
        self.timestamp.to_millis()
    }

    /// The headers in order, or `None` when a name is not UTF-8: the protocol says it is, nobody checks, and the
    /// client panics on it. One poisoned record must not take the consumer down.
    pub(super) fn headers(&self) -> Option<Vec<HeaderRef<'_>>> {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            self.headers.iter().map(|Header { key, value }| (key, value)).collect()
        }))
        .ok()
    }
}
