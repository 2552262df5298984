//! One event on its way into the outbox.
//!
//! An [`OutboxRecord`] can only be built from an event, so nothing reaches a topic that isn't in its contract.
//! Everything about the message is decided here, at creation: its id, its bytes, its headers and its trace. The
//! relay only carries it. A record too large for the broker is refused here, where the caller still sees it:
//! in the table it would hold back its aggregate for good.

use std::collections::BTreeMap;

use millrace_envelope::{Envelope, Event, MessageContext, TopicName};
use millrace_resilience::{Class, Classify};
use millrace_runtime::Clock;
use sha2::{Digest as _, Sha256};
use uuid::{NoContext, Timestamp, Uuid};

/// Most bytes of key, payload and headers together: below the broker's usual 1 MiB with room for its framing.
pub const RECORD_BYTES_MAX: usize = 960 * 1024;

/// How many buckets aggregates are spread over. Changing it needs an empty outbox, because a row keeps the
/// bucket it was written with.
pub(crate) const BUCKETS: i16 = 16;

/// Headers that have a column of their own, by the column's name, so that change data capture can place them.
/// `ce_id`, `ce_type` and `ce_subject` aren't here: the columns id, type and aggregateid are these headers.
const COLUMNS: [&str; 8] = [
    "ce_time",
    "ce_actor",
    "ce_tenant",
    "ce_correlationid",
    "ce_causationid",
    "traceparent",
    "tracestate",
    "baggage",
];
const DERIVED: [&str; 3] = ["ce_id", "ce_type", "ce_subject"];

/// Why an event can't become a record.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The payload is no JSON.
    #[error("event `{event_type}` can't be written as JSON")]
    Json {
        /// The wire type.
        event_type: &'static str,
        /// What the writer said.
        #[source]
        source: serde_json::Error,
    },
    /// The broker would refuse it.
    #[error(
        "event `{event_type}` has {bytes} bytes, the limit RECORD_BYTES_MAX is {RECORD_BYTES_MAX}"
    )]
    TooLarge {
        /// The wire type.
        event_type: &'static str,
        /// Key, payload and headers together.
        bytes: usize,
    },
    /// PostgreSQL stores no NUL in a text.
    #[error("the partition key of event `{event_type}` has a NUL character")]
    NulInKey {
        /// The wire type.
        event_type: &'static str,
    },
}

impl Classify for EncodeError {
    fn class(&self) -> Class {
        Class::Permanent
    }
}

/// An event with everything the relay needs to publish it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRecord {
    pub(crate) id: Uuid,
    pub(crate) topic: TopicName,
    pub(crate) aggregate_type: &'static str,
    pub(crate) aggregate_id: String,
    pub(crate) event_type: &'static str,
    pub(crate) payload: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) columns: Columns,
    pub(crate) bucket: i16,
}

/// The headers with a column of their own, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Columns(BTreeMap<&'static str, String>);

impl Columns {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl OutboxRecord {
    /// Wraps the event under a new id, as said by `source` now, in the given context.
    ///
    /// # Errors
    /// When the event can't be written, is too large, or has a key that can't be stored.
    pub fn of<E: Event + Clone>(
        source: &str,
        event: &E,
        context: &MessageContext,
        clock: &Clock,
    ) -> Result<Self, EncodeError> {
        let now_ms = clock.now_ms();
        let envelope = Envelope::new(new_id(now_ms), source, now_ms, event.clone());
        Self::of_envelope(&envelope, context)
    }

    /// Takes an envelope that has its id already.
    ///
    /// # Errors
    /// As [`OutboxRecord::of`].
    pub fn of_envelope<E: Event>(
        envelope: &Envelope<E>,
        context: &MessageContext,
    ) -> Result<Self, EncodeError> {
        let event_type = envelope.payload.event_type();
        let record =
            envelope.encode(context).map_err(|source| EncodeError::Json { event_type, source })?;
        let aggregate_id = envelope.payload.partition_key().as_str().to_owned();
        if aggregate_id.contains('\0') {
            return Err(EncodeError::NulInKey { event_type });
        }
        let payload = record.payload.unwrap_or_default();
        let header_bytes: usize =
            record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let bytes = aggregate_id.len() + payload.len() + header_bytes;
        if bytes > RECORD_BYTES_MAX {
            return Err(EncodeError::TooLarge { event_type, bytes });
        }
        let (columns, headers) = split_headers(record.headers);
        Ok(Self {
            id: envelope.id,
            topic: record.topic,
            aggregate_type: E::AGGREGATE,
            bucket: bucket_of(&aggregate_id),
            aggregate_id,
            event_type,
            payload: text(payload),
            headers,
            columns,
        })
    }

    /// The message's id, by which consumers recognise a repeat.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The wire type.
    #[must_use]
    pub fn event_type(&self) -> &'static str {
        self.event_type
    }
}

/// Which bucket an aggregate belongs to. Stable across releases and machines.
pub(crate) fn bucket_of(aggregate_id: &str) -> i16 {
    let digest = Sha256::digest(aggregate_id.as_bytes());
    i16::from(digest[0]) % BUCKETS
}

/// A name for bytes that can't name themselves: equal bytes, equal name.
pub(crate) fn digest_text(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("a text takes everything");
    }
    text
}

/// A UUIDv7 of the clock's time: ids sort by time, and a test's clock shows in them.
fn new_id(now_ms: i64) -> Uuid {
    let now_ms = u64::try_from(now_ms).unwrap_or(0);
    let nanos = u32::try_from(now_ms % 1000).unwrap_or(0) * 1_000_000;
    Uuid::new_v7(Timestamp::from_unix(NoContext, now_ms / 1000, nanos))
}

fn split_headers(all: Vec<(String, Vec<u8>)>) -> (Columns, Vec<(String, String)>) {
    let mut columns = Columns::default();
    let mut rest = Vec::new();
    for (name, value) in all {
        if DERIVED.contains(&name.as_str()) {
            continue;
        }
        // A caller's name may come from a token; a NUL in it must not make the insert fail.
        let value = text(value).replace('\0', "");
        match COLUMNS.iter().find(|column| **column == name) {
            Some(column) => {
                columns.0.insert(column, value);
            }
            None => rest.push((name, value)),
        }
    }
    (columns, rest)
}

/// The envelope's writer only makes UTF-8; anything else would be replaced, not lost.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
