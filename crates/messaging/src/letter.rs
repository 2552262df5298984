//! Records that are given up, on their way to the dead-letter topic of a consumer that has a database.
//!
//! Such a consumer doesn't publish its dead letters: it commits the inbox's `dead` outcome and the letter together,
//! and the relay publishes it. The outbox crate implements [`DeadLetterStore`]; a consumer without one sends its
//! letters in a Kafka transaction with the offset of the record they came from.

use std::error::Error;

use futures::future::BoxFuture;
use millrace_envelope::{ConsumerGroup, TopicName};
use uuid::Uuid;

/// A record as it goes to the broker, with parts that envelopes always have and foreign records may lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawOutgoing {
    /// The logical name of the topic; the producer adds the prefix.
    pub topic: TopicName,
    /// The key, byte for byte.
    pub key: Option<Vec<u8>>,
    /// The value, byte for byte; `None` is Kafka's null.
    pub payload: Option<Vec<u8>>,
    /// The headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Creation time in milliseconds since 1970.
    pub timestamp_ms: Option<i64>,
}

/// One record that a consumer gives up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The envelope's id, or one made of topic, partition and offset when there is none: the same for a repeat.
    pub message_id: Uuid,
    /// Who gives it up.
    pub group: ConsumerGroup,
    /// The letter, finished: raw bytes and all headers.
    pub record: RawOutgoing,
}

/// Keeps dead letters so that they can't be lost: the `dead` outcome and the letter in one commit.
pub trait DeadLetterStore: Send + Sync + 'static {
    /// Keeps the letter; a repeat of one that is kept, or of a message that is done, changes nothing and is no error.
    fn bury(&self, letter: DeadLetter) -> BoxFuture<'_, Result<(), Box<dyn Error + Send + Sync>>>;
}
