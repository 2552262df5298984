//! What goes through the client beside each record, so that its fate finds its owner.
//!
//! The client gives a receipt back exactly once: with the acknowledgement, with the error that the record failed
//! by (time-out and purge included), or at once when it doesn't take the record. That is the whole of «nothing is
//! dropped silently»: there is no other way out of here than to tell the owner.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rdkafka::ClientContext;
use rdkafka::Message as _;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryResult, ProducerContext};
use tracing::Span;

use super::call::{Call, Fate};
use super::queue::Ledger;
use super::span;
use super::topic::Topic;
use super::{PublishError, RecordPosition};
use crate::client::Connection;

/// Whose record it is.
#[derive(Debug)]
pub(super) enum Owner {
    /// One that waits, and the record's place in its call.
    Call(Arc<Call>, usize),
    /// A queue, which has the record no longer and takes it back from the client if it failed; all but the record's
    /// timestamp, which the client doesn't tell before there is an acknowledgement.
    Queue(Arc<Ledger>, Option<i64>),
}

#[derive(Debug)]
pub(super) struct Receipt {
    pub(super) topic: Arc<Topic>,
    pub(super) span: Span,
    pub(super) owner: Owner,
}

impl Receipt {
    fn settle(self, result: &DeliveryResult<'_>) {
        let fate: Fate = match result {
            Ok(message) => {
                self.topic.sent.inc();
                Ok(RecordPosition { partition: message.partition(), offset: message.offset() })
            }
            Err((error, _)) => Err(PublishError::of(self.topic.name.as_str(), error.clone())),
        };
        span::finish(&self.span, &fate);
        match (self.owner, fate, result) {
            (Owner::Call(call, place), fate, _) => call.settle(place, fate),
            (Owner::Queue(ledger, timestamp_ms), Err(error), Err((_, message))) => {
                ledger.failed(&self.topic, timestamp_ms, message, error);
            }
            (Owner::Queue(ledger, _), _, _) => ledger.delivered(),
        }
    }
}

/// The callbacks of one client.
pub(super) struct Reports {
    connection: Arc<Connection>,
    fatal: AtomicBool,
}

impl Reports {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, fatal: AtomicBool::new(false) }
    }

    /// True once the client refuses everything.
    pub(super) fn fatal(&self) -> bool {
        self.fatal.load(Ordering::Acquire)
    }

    pub(super) fn note(&self, error: &KafkaError) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.fatal.store(true, Ordering::Release);
        }
    }
}

impl ClientContext for Reports {
    // Asked for only when the mechanism is OAUTHBEARER.
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.connection.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(&error);
        self.connection.reported(&error, reason);
    }

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.connection.token()
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<Receipt>;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: Box<Receipt>) {
        match result {
            Ok(_) => self.connection.answered(),
            Err((error, _)) => self.note(error),
        }
        // A queue's owner is told on this thread; its panic must not cost the receipts behind it.
        if catch_unwind(AssertUnwindSafe(|| receipt.settle(result))).is_err() {
            tracing::error!("telling the fate of a record panicked");
        }
    }
}
