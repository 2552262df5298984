//! A message ready for the broker.

use crate::TopicName;

/// Bytes and headers of one message; nothing about it depends on the broker's client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRecord {
    /// The logical topic.
    pub topic: TopicName,
    /// The partition key's bytes.
    pub key: Vec<u8>,
    /// The value; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Headers in order; names are unique unless they came from elsewhere.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Milliseconds since 1970-01-01 UTC; the broker's client fills it in when absent.
    pub timestamp_ms: Option<i64>,
}

impl EncodedRecord {
    /// Sets a header, replacing every header of that name: trace headers are replaced, never appended.
    pub fn set_header(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.headers.retain(|(existing, _)| existing != name);
        self.headers.push((name.to_owned(), value.into()));
    }
}
