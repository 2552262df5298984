//! A letter with the record it came from, until it is published.

use std::time::Instant;

use millrace_envelope::TopicName;
use tracing::Span;
use uuid::Uuid;

use super::failure::Failure;
use super::identity::Identity;
use super::lanes::Item;
use super::letters::{self, Detail, Letter, Source, Verdict};
use crate::letter::RawOutgoing;
use crate::message::RawRecord;

/// One letter on its way.
#[derive(Debug, Clone)]
pub(super) struct Outbound {
    pub(super) letter: Letter,
    pub(super) item: Item<RawRecord>,
    pub(super) failure: Failure,
    pub(super) span: Span,
    /// Without texts, once it was found too large with them.
    pub(super) detail: Detail,
    /// When the failure that sends it away was seen, milliseconds since 1970.
    pub(super) now_ms: i64,
    /// Times that its publishing failed when it travelled alone.
    pub(super) failures: u32,
    /// Its topic refuses it for its size, even without texts. It waits until the topic takes it.
    pub(super) too_large: bool,
    /// Not to be published before.
    pub(super) not_before: Option<Instant>,
    /// Open while it is being published; it ends with the letter, or when it is tried again.
    sending: Option<Span>,
}

impl Outbound {
    pub(super) fn new(
        letter: Letter,
        item: Item<RawRecord>,
        failure: Failure,
        span: Span,
        now_ms: i64,
    ) -> Self {
        Self {
            letter,
            item,
            failure,
            span,
            detail: Detail::Full,
            now_ms,
            failures: 0,
            too_large: false,
            not_before: None,
            sending: None,
        }
    }

    /// Opens the span of its publishing: in the trace of the record, below the attempt that failed, and linked to the
    /// context that the record was created in.
    pub(super) fn begin_sending(&mut self, identity: &Identity) {
        let topic = self.topic(identity);
        let span = tracing::info_span!(
            parent: &self.span,
            "send",
            otel.name = format!("send {topic}"),
            otel.kind = "producer",
            messaging.system = "kafka",
            messaging.operation.name = "send",
            messaging.operation.type = "send",
            messaging.destination.name = topic.as_str(),
            messaging.consumer.group.name = identity.group,
            error.type = self.failure.code.code,
        );
        millrace_telemetry::add_link(&span, &self.item.record.context().trace);
        self.sending = Some(span);
    }

    /// The record as it goes to the broker.
    pub(super) fn compose(&self, identity: &Identity) -> RawOutgoing {
        let record = &self.item.record;
        let source = Source {
            topic: identity.broker_topic_of(record),
            group: &identity.broker_group,
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key(),
            payload: record.payload(),
            headers: record.headers().collect(),
        };
        let verdict = Verdict {
            failure: &self.failure,
            attempts: self.item.failures,
            first_failure_ms: self.item.first_failure_ms.unwrap_or(self.now_ms),
            now_ms: self.now_ms,
        };
        letters::compose(self.topic(identity), self.letter, &source, &verdict, self.detail)
    }

    /// The logical topic it goes to.
    pub(super) fn topic(&self, identity: &Identity) -> TopicName {
        self.letter.topic(&identity.origin, identity.consumer_group)
    }

    /// By what a repeat of it is known: the message's own id, or one made of its place.
    pub(super) fn message_id(&self, identity: &Identity, message_id: Option<Uuid>) -> Uuid {
        let record = &self.item.record;
        message_id.unwrap_or_else(|| {
            record.position_id(identity.broker_topic_of(record), identity.consumer_group)
        })
    }
}
