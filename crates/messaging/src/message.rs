//! One record as it came from the broker, and what a handler may ask to have made of it.
//!
//! Decoding happens inside the handling boundary: whatever the bytes are, the outcome is a message, a record to skip
//! or a dead letter, and never an error that could stop the consumer.

use bytes::Bytes;
use millrace_envelope::{
    ConsumerGroup, DecodeError, Envelope, ErrorCode, Event, MessageContext, TopicName, read_context,
};
use millrace_telemetry::error_chain;
use rdkafka::Timestamp;
use uuid::Uuid;

use crate::codes;

/// What a handler receives: [`Envelope`] for the house's own events, [`RawMessage`] for bytes, or a type of yours for
/// a format of somebody else's.
pub trait Message: Sized + Send + Sync + 'static {
    /// Reads a record: a function of its bytes alone. It must not panic on any; when it does, or when [`Message::id`]
    /// does, the record goes to the dead-letter topic as `messaging.reader_panicked`, because the same bytes would
    /// panic again. (A handler that panics is tried again: what it met may be gone the next time.)
    ///
    /// # Errors
    /// See [`Unreadable`].
    fn read(record: &RawRecord) -> Result<Self, Unreadable>;

    /// The id by which a repeat is recognised, if the format has one.
    fn id(&self) -> Option<Uuid> {
        None
    }
}

/// Why a record is not handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// Somebody else's message on the same topic: skipped and counted.
    Skip,
    /// It goes to the dead-letter topic under this code, for this reason.
    Dead {
        /// The stable code.
        code: &'static ErrorCode,
        /// The reason in words.
        reason: String,
    },
}

impl Unreadable {
    pub(crate) fn undecodable(reason: impl Into<String>) -> Self {
        Self::Dead { code: &codes::UNDECODABLE, reason: reason.into() }
    }
}

impl<E: Event> Message for Envelope<E> {
    fn read(record: &RawRecord) -> Result<Self, Unreadable> {
        if record.torn_headers {
            return Err(Unreadable::undecodable("the name of a header is not UTF-8"));
        }
        let payload =
            record.payload().ok_or_else(|| Unreadable::undecodable("the value is null"))?;
        Self::decode(payload).map_err(|error| match &error {
            DecodeError::NotSubscribed { .. } => Unreadable::Skip,
            DecodeError::UnknownVersion { .. } => {
                Unreadable::Dead { code: &codes::UNKNOWN_VERSION, reason: error.to_string() }
            }
            DecodeError::NotAnEnvelope(_) | DecodeError::MalformedPayload { .. } => {
                Unreadable::undecodable(error_chain(&error))
            }
        })
    }

    fn id(&self) -> Option<Uuid> {
        Some(self.id)
    }
}

/// A record handed over as it is.
#[derive(Debug, Clone)]
pub struct RawMessage(pub RawRecord);

impl Message for RawMessage {
    fn read(record: &RawRecord) -> Result<Self, Unreadable> {
        Ok(Self(record.clone()))
    }
}

/// Where the parts of a record stand in its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    from: u32,
    to: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct HeaderPart {
    name: Part,
    value: Option<Part>,
}

/// One record, owned and untouched. Cloning shares the bytes.
#[derive(Debug, Clone)]
pub struct RawRecord {
    pub(crate) topic: TopicName,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: Timestamp,
    /// All bytes in one piece: a record costs one allocation, not one for each part.
    bytes: Bytes,
    key: Option<Part>,
    payload: Option<Part>,
    headers: Vec<HeaderPart>,
    /// The name of a header was not UTF-8 and stands here with replacement characters.
    pub(crate) torn_headers: bool,
}

impl RawRecord {
    /// The logical name of its topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// Its partition.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Its offset.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Its timestamp in milliseconds since 1970.
    #[must_use]
    pub fn timestamp_ms(&self) -> Option<i64> {
        match self.timestamp {
            Timestamp::CreateTime(at) | Timestamp::LogAppendTime(at) => Some(at),
            Timestamp::NotAvailable => None,
        }
    }

    /// Its key, byte for byte.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.key.map(|part| self.part(part))
    }

    /// Its value, byte for byte; `None` is Kafka's null.
    #[must_use]
    pub fn payload(&self) -> Option<&[u8]> {
        self.payload.map(|part| self.part(part))
    }

    /// Its headers in order, with repeats.
    pub fn headers(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> + Clone {
        self.headers.iter().map(|header| {
            let name = std::str::from_utf8(self.part(header.name)).unwrap_or_default();
            (name, header.value.map(|part| self.part(part)))
        })
    }

    /// Who caused it and in which trace, as far as its headers tell.
    #[must_use]
    pub fn context(&self) -> MessageContext {
        if self.headers.is_empty() {
            return MessageContext::default();
        }
        read_context(self.headers().filter_map(|(name, value)| Some((name, value?))))
    }

    /// Bytes that it holds in memory; what bounds count.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// An id that a repeat of this very record has too, for records whose format has none.
    pub(crate) fn position_id(&self, broker_topic: &str, group: ConsumerGroup) -> Uuid {
        let name = format!("{broker_topic}/{}/{}/{}", self.partition, self.offset, group.as_str());
        Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
    }

    fn part(&self, part: Part) -> &[u8] {
        let at = |place: u32| usize::try_from(place).unwrap_or(usize::MAX);
        &self.bytes[at(part.from)..at(part.to)]
    }
}

/// Puts a record together, part by part.
pub(crate) struct RawRecordBuilder {
    record: RawRecord,
    bytes: Vec<u8>,
}

impl RawRecordBuilder {
    pub(crate) fn new(topic: TopicName, partition: i32, offset: i64, timestamp: Timestamp) -> Self {
        let record = RawRecord {
            topic,
            partition,
            offset,
            timestamp,
            bytes: Bytes::new(),
            key: None,
            payload: None,
            headers: Vec::new(),
            torn_headers: false,
        };
        Self { record, bytes: Vec::new() }
    }

    pub(crate) fn reserve(&mut self, bytes: usize, headers: usize) {
        self.bytes.reserve_exact(bytes);
        self.record.headers.reserve_exact(headers);
    }

    pub(crate) fn key(&mut self, key: Option<&[u8]>) {
        self.record.key = key.map(|bytes| self.put(bytes));
    }

    pub(crate) fn payload(&mut self, payload: Option<&[u8]>) {
        self.record.payload = payload.map(|bytes| self.put(bytes));
    }

    /// A name that isn't UTF-8 is kept with replacement characters, and the record knows.
    pub(crate) fn header(&mut self, name: &[u8], value: Option<&[u8]>) {
        let text = String::from_utf8_lossy(name);
        self.record.torn_headers |= matches!(text, std::borrow::Cow::Owned(_));
        let name = self.put(text.as_bytes());
        let value = value.map(|bytes| self.put(bytes));
        self.record.headers.push(HeaderPart { name, value });
    }

    pub(crate) fn build(self) -> RawRecord {
        RawRecord { bytes: Bytes::from(self.bytes), ..self.record }
    }

    /// A record is far below 4 GiB: the broker's and the client's own limits are signed 32-bit numbers.
    fn put(&mut self, bytes: &[u8]) -> Part {
        let at = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let from = at(self.bytes.len());
        self.bytes.extend_from_slice(bytes);
        Part { from, to: at(self.bytes.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(build: impl FnOnce(&mut RawRecordBuilder)) -> RawRecord {
        let topic = TopicName::from_static("t");
        let mut builder = RawRecordBuilder::new(topic, 0, 7, Timestamp::NotAvailable);
        build(&mut builder);
        builder.build()
    }

    #[test]
    fn every_part_comes_back_byte_for_byte_and_null_is_not_empty() {
        let record = record(|r| {
            r.key(Some(b""));
            r.payload(None);
            r.header(b"a", Some(b"\xff\x00"));
            r.header(b"a", None);
            r.header(b"", Some(b""));
        });
        assert_eq!((record.key(), record.payload()), (Some(&b""[..]), None));
        let headers: Vec<_> = record.headers().collect();
        assert_eq!(headers, [("a", Some(&b"\xff\x00"[..])), ("a", None), ("", Some(&b""[..]))]);
        assert!(!record.torn_headers);
    }

    #[test]
    fn a_torn_header_name_is_known_and_the_value_stays() {
        let record = record(|r| r.header(b"\xff", Some(b"v")));
        assert!(record.torn_headers);
        assert_eq!(record.headers().next(), Some(("\u{fffd}", Some(&b"v"[..]))));
    }
}
