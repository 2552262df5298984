//! Why a message is not known to be published.

use millrace_resilience::{Class, Classify};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::client::ClientError;

/// Why a message is not known to be published. The caller still has it.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Larger than this client or the topic allows.
    #[error("message of {bytes} bytes for `{topic}` is larger than the allowed {max}")]
    TooLarge {
        /// The topic.
        topic: String,
        /// Key, value and headers together; 0 when the broker measured.
        bytes: u64,
        /// The bound; 0 when the broker's.
        max: u64,
    },
    /// The client's queue has no room.
    #[error("queue of the producer is full")]
    QueueFull,
    /// No acknowledgement in time, or an error that may pass. It may have been published all the same.
    #[error("message for `{topic}` was not acknowledged")]
    NotAcknowledged {
        /// The topic.
        topic: String,
        /// What the client said.
        #[source]
        cause: ClientError,
    },
    /// The broker will not take this message as it is.
    #[error("message for `{topic}` was refused")]
    Refused {
        /// The topic.
        topic: String,
        /// What the client said.
        #[source]
        cause: ClientError,
    },
    /// The producer ended while the message waited.
    #[error("producer was closed")]
    Closed,
}

impl PublishError {
    pub(super) fn of(topic: &str, error: KafkaError) -> Self {
        let topic = topic.to_owned();
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => Self::QueueFull,
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                Self::TooLarge { topic, bytes: 0, max: 0 }
            }
            Some(
                RDKafkaErrorCode::InvalidMessage
                | RDKafkaErrorCode::InvalidRecord
                | RDKafkaErrorCode::InvalidTopic
                | RDKafkaErrorCode::InvalidTimestamp
                | RDKafkaErrorCode::PolicyViolation,
            ) => Self::Refused { topic, cause: ClientError(error) },
            _ => Self::NotAcknowledged { topic, cause: ClientError(error) },
        }
    }
}

impl Classify for PublishError {
    fn class(&self) -> Class {
        match self {
            Self::TooLarge { .. } | Self::Refused { .. } => Class::Permanent,
            // A missing topic or right is transient too: an operator can mend it while the caller keeps the message.
            Self::QueueFull | Self::NotAcknowledged { .. } | Self::Closed => Class::Transient,
        }
    }
}
