//! One shape for every kind of record on its way into the client.

use millrace_envelope::EncodedRecord;
use rdkafka::message::{Header, OwnedHeaders};

use crate::letter::RawOutgoing;

/// A record's parts as the client takes them; any but the headers may be absent.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) payload: Option<&'a [u8]>,
    pub(super) headers: OwnedHeaders,
    pub(super) header_bytes: usize,
    pub(super) timestamp_ms: Option<i64>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(record: &'a EncodedRecord) -> Self {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        Self {
            key: Some(&record.key),
            payload: record.payload.as_deref(),
            headers,
            header_bytes: record.headers.iter().map(|(key, value)| key.len() + value.len()).sum(),
            timestamp_ms: record.timestamp_ms,
        }
    }

    pub(super) fn of_raw(record: &'a RawOutgoing) -> Self {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: value.as_ref() });
        }
        let bytes_of = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        Self {
            key: record.key.as_deref(),
            payload: record.payload.as_deref(),
            headers,
            header_bytes: record
                .headers
                .iter()
                .map(|(key, value)| key.len() + bytes_of(value))
                .sum(),
            timestamp_ms: record.timestamp_ms,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        let bytes = self.key.map_or(0, <[u8]>::len)
            + self.payload.map_or(0, <[u8]>::len)
            + self.header_bytes;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// Key, value and headers of a record together.
pub(super) fn bytes_of(record: &EncodedRecord) -> usize {
    let headers: usize = record.headers.iter().map(|(key, value)| key.len() + value.len()).sum();
    record.key.len() + record.payload.as_ref().map_or(0, Vec::len) + headers
}
