//! The envelope, and the trait that makes a type an event.
//!
//! Reading distinguishes three cases that a consumer must treat differently: a type that it doesn't subscribe to
//! (skipped and counted), a known type in an unknown version (dead-lettered: skipping it would lose it), and bytes
//! that are no envelope at all (dead-lettered). Unknown fields are accepted, so that a producer may add some.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::headers::{self, Attributes};
use crate::{EncodedRecord, MessageContext, TopicName};

/// What keeps messages in sequence: those with equal keys stay in order.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartitionKey(String);

impl PartitionKey {
    /// A key from an id.
    pub fn new(id: impl fmt::Display) -> Self {
        Self(id.to_string())
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A fact that travels on a topic. Declare event enums with [`crate::events!`].
pub trait Event: Sized + Send + Sync + 'static {
    /// The topic it travels on.
    const TOPIC: TopicName;
    /// What kind of thing it happened to, e.g. `order`.
    const AGGREGATE: &'static str;
    /// Every wire type of this enum with its version, in the order of declaration.
    const TYPES: &'static [(&'static str, u32)];

    /// The wire type, e.g. `order.placed`.
    fn event_type(&self) -> &'static str;
    /// The version of the payload's form.
    fn version(&self) -> u32;
    /// The ordering unit, the id of the thing it happened to.
    fn partition_key(&self) -> PartitionKey;
    /// The payload as JSON.
    ///
    /// # Errors
    /// When the payload can't be written as JSON (a map with keys that are no text, say).
    fn write_payload(&self) -> serde_json::Result<Box<RawValue>>;
    /// Reads a payload of the given type and version.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn read_payload(event_type: &str, version: u32, payload: &RawValue) -> Result<Self, ReadError>;
}

/// Why a payload was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The consumer doesn't know this type: somebody else's event on the same topic.
    #[error("type is not subscribed to")]
    UnknownType,
    /// The type is known, this version of it is not.
    #[error("version is unknown")]
    UnknownVersion,
    /// The payload doesn't have the form that its type and version promise.
    #[error("payload has another form: {0}")]
    Malformed(serde_json::Error),
}

/// Why bytes are not an envelope for this consumer.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not an envelope at all.
    #[error("bytes are not an envelope: {0}")]
    NotAnEnvelope(serde_json::Error),
    /// A type that this consumer doesn't subscribe to: skip and count.
    #[error("event type `{event_type}` is not subscribed to")]
    NotSubscribed {
        /// The type on the wire.
        event_type: String,
    },
    /// A subscribed type in a version from another release: dead-letter.
    #[error("event type `{event_type}` has unknown version {version}")]
    UnknownVersion {
        /// The type on the wire.
        event_type: String,
        /// The version on the wire.
        version: u32,
    },
    /// A payload that isn't what its type promises: dead-letter.
    #[error("payload of `{event_type}` is malformed: {cause}")]
    MalformedPayload {
        /// The type on the wire.
        event_type: String,
        /// What the reader said.
        cause: serde_json::Error,
    },
}

/// The wrapper of every message.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope<E> {
    /// Unique id, a UUIDv7; consumers recognise a repeat by it.
    pub id: Uuid,
    /// The service that said it.
    pub source: String,
    /// When it happened, milliseconds since 1970-01-01 UTC.
    pub timestamp: i64,
    /// What happened.
    pub payload: E,
}

#[derive(Serialize)]
struct WireOut<'a> {
    id: Uuid,
    #[serde(rename = "type")]
    event_type: &'a str,
    version: u32,
    source: &'a str,
    timestamp: i64,
    payload: &'a RawValue,
}

#[derive(Deserialize)]
struct WireIn<'a> {
    id: Uuid,
    #[serde(rename = "type")]
    event_type: String,
    version: u32,
    source: String,
    timestamp: i64,
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl<E: Event> Envelope<E> {
    /// Wraps a payload.
    pub fn new(id: Uuid, source: impl Into<String>, timestamp: i64, payload: E) -> Self {
        Self { id, source: source.into(), timestamp, payload }
    }

    /// The envelope as the JSON text that goes on the wire.
    ///
    /// # Errors
    /// When the payload can't be written as JSON.
    pub fn to_text(&self) -> serde_json::Result<String> {
        let payload = self.payload.write_payload()?;
        serde_json::to_string(&WireOut {
            id: self.id,
            event_type: self.payload.event_type(),
            version: self.payload.version(),
            source: &self.source,
            timestamp: self.timestamp,
            payload: &payload,
        })
    }

    /// The headers beside the envelope.
    #[must_use]
    pub fn headers(&self, context: &MessageContext) -> Vec<(String, Vec<u8>)> {
        headers::write(
            &Attributes {
                id: self.id.to_string(),
                event_type: self.payload.event_type(),
                source: &self.source,
                subject: self.payload.partition_key().as_str(),
                timestamp_ms: self.timestamp,
            },
            context,
        )
    }

    /// The message as it goes to the broker.
    ///
    /// # Errors
    /// When the payload can't be written as JSON.
    pub fn encode(&self, context: &MessageContext) -> serde_json::Result<EncodedRecord> {
        Ok(EncodedRecord {
            topic: E::TOPIC,
            key: self.payload.partition_key().as_str().as_bytes().to_vec(),
            payload: Some(self.to_text()?.into_bytes()),
            headers: self.headers(context),
            timestamp_ms: Some(self.timestamp),
        })
    }

    /// Reads an envelope.
    ///
    /// # Errors
    /// See [`DecodeError`]; each variant asks for another treatment.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire: WireIn<'_> = serde_json::from_slice(bytes).map_err(DecodeError::NotAnEnvelope)?;
        match E::read_payload(&wire.event_type, wire.version, wire.payload) {
            Ok(payload) => {
                Ok(Self { id: wire.id, source: wire.source, timestamp: wire.timestamp, payload })
            }
            Err(ReadError::UnknownType) => {
                Err(DecodeError::NotSubscribed { event_type: wire.event_type })
            }
            Err(ReadError::UnknownVersion) => Err(DecodeError::UnknownVersion {
                event_type: wire.event_type,
                version: wire.version,
            }),
            Err(ReadError::Malformed(cause)) => {
                Err(DecodeError::MalformedPayload { event_type: wire.event_type, cause })
            }
        }
    }
}

/// Declares an event enum: its topic, aggregate, the payloads' key field, and a wire type and version a variant.
///
/// Two versions of one type are two variants with the same text. See the crate's example.
#[macro_export]
macro_rules! events {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident on $topic:literal, aggregate $aggregate:literal, key $key:ident {
            $( $(#[$vmeta:meta])* $wire:literal $version:ident => $variant:ident($payload:ty) ),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        $vis enum $name { $(
            $(#[$vmeta])*
            #[doc = concat!("`", $wire, "` ", stringify!($version))]
            $variant($payload)
        ),+ }

        impl $crate::Event for $name {
            const TOPIC: $crate::TopicName = $crate::TopicName::from_static($topic);
            const AGGREGATE: &'static str = $aggregate;
            const TYPES: &'static [(&'static str, u32)] =
                &[$(($wire, $crate::events!(@version $version))),+];

            fn event_type(&self) -> &'static str {
                match self { $(Self::$variant(_) => $wire),+ }
            }
            fn version(&self) -> u32 {
                match self { $(Self::$variant(_) => $crate::events!(@version $version)),+ }
            }
            fn partition_key(&self) -> $crate::PartitionKey {
                match self { $(Self::$variant(payload) => $crate::PartitionKey::new(&payload.$key)),+ }
            }
            fn write_payload(
                &self,
            ) -> $crate::macros::serde_json::Result<Box<$crate::macros::serde_json::value::RawValue>> {
                match self {
                    $(Self::$variant(payload) => $crate::macros::serde_json::value::to_raw_value(payload)),+
                }
            }
            fn read_payload(
                event_type: &str,
                version: u32,
                payload: &$crate::macros::serde_json::value::RawValue,
            ) -> Result<Self, $crate::ReadError> {
                $(
                    if event_type == $wire && version == $crate::events!(@version $version) {
                        return $crate::macros::serde_json::from_str(payload.get())
                            .map(Self::$variant)
                            .map_err($crate::ReadError::Malformed);
                    }
                )+
                if [$($wire),+].contains(&event_type) {
                    Err($crate::ReadError::UnknownVersion)
                } else {
                    Err($crate::ReadError::UnknownType)
                }
            }
        }
    };
    (@version v1) => { 1 };
    (@version v2) => { 2 };
    (@version v3) => { 3 };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TraceContext, read_context};

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Sent {
        parcel_id: String,
    }

    events! {
        enum ParcelEvent on "parcel-events", aggregate "parcel", key parcel_id {
            "parcel.sent" v1 => Sent(Sent),
        }
    }

    fn wire(event_type: &str, version: u32, payload: &str) -> Vec<u8> {
        format!(
            r#"{{"id":"{}","type":"{event_type}","version":{version},"source":"s","timestamp":1,"payload":{payload},"new":1}}"#,
            Uuid::nil()
        )
        .into_bytes()
    }

    #[test]
    fn an_unknown_field_is_accepted_and_an_unknown_type_is_told_from_an_unknown_version() {
        let known =
            Envelope::<ParcelEvent>::decode(&wire("parcel.sent", 1, r#"{"parcel_id":"a","x":0}"#));
        assert_eq!(known.unwrap().payload.partition_key().as_str(), "a");
        let other = Envelope::<ParcelEvent>::decode(&wire("parcel.lost", 1, "{}"));
        assert!(matches!(other, Err(DecodeError::NotSubscribed { .. })));
        let newer = Envelope::<ParcelEvent>::decode(&wire("parcel.sent", 2, "{}"));
        assert!(matches!(newer, Err(DecodeError::UnknownVersion { version: 2, .. })));
        let torn = Envelope::<ParcelEvent>::decode(&wire("parcel.sent", 1, "{}"));
        assert!(matches!(torn, Err(DecodeError::MalformedPayload { .. })));
        for bytes in [&b""[..], b"\xff\xfe", b"null", b"{}", b"[1]"] {
            let garbage = Envelope::<ParcelEvent>::decode(bytes);
            assert!(matches!(garbage, Err(DecodeError::NotAnEnvelope(_))));
        }
    }

    #[test]
    fn the_context_survives_the_headers() {
        let context = MessageContext {
            actor: Some("ann".into()),
            correlation_id: Some("c".into()),
            trace: TraceContext {
                traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
                ..TraceContext::default()
            },
            ..MessageContext::default()
        };
        let event = ParcelEvent::Sent(Sent { parcel_id: "a".into() });
        let record = Envelope::new(Uuid::nil(), "parcels", 0, event).encode(&context).unwrap();
        let headers = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
        assert_eq!(read_context(headers.clone()), context);
        assert_eq!(text_of(headers, "ce_time").as_deref(), Some("1970-01-01T00:00:00.000Z"));
    }

    fn text_of<'a>(
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
        name: &str,
    ) -> Option<String> {
        crate::text_header(headers, name)
    }
}
