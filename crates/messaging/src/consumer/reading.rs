//! From a record to a delivery, with the spans around it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use millrace_envelope::TraceContext;
use tracing::Span;
use uuid::Uuid;

use super::failure::Failure;
use super::identity::Identity;
use super::lanes::Item;
use super::schedule::Tenure;
use crate::message::{RawRecord, Unreadable};
use crate::naming::key_text;
use crate::{Delivery, Epoch, Message};

/// What a record turned out to be.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for a moment, and the large variant is the usual one"
)]
pub(super) enum Reading<M> {
    /// A message for the handler, and the context it was created in.
    Message(Delivery<M>, TraceContext),
    /// Somebody else's.
    Skip,
    /// Nothing that a handler could be given; the span is where its log lines belong.
    Unreadable(Failure, Span),
}

pub(super) fn read<M: Message>(
    identity: &Identity,
    tenure: Tenure,
    item: &Item<RawRecord>,
    epoch: Option<i64>,
) -> Reading<M> {
    let record = &item.record;
    // The id is asked for in here, too: whatever an author wrote about a message may panic on it.
    let read = AssertUnwindSafe(|| M::read(record).map(|message| (message.id(), message)));
    let (id, message) = match catch_unwind(read) {
        Ok(Ok(read)) => read,
        Ok(Err(Unreadable::Skip)) => return Reading::Skip,
        Ok(Err(Unreadable::Dead { code, reason })) => {
            let (span, _) = process_span(identity, item, None, &record.context().trace);
            return Reading::Unreadable(Failure::unreadable(code, reason), span);
        }
        Err(panic) => {
            let (span, _) = process_span(identity, item, None, &record.context().trace);
            return Reading::Unreadable(Failure::of_reader(panic.as_ref()), span);
        }
    };
    let mut context = record.context();
    let (span, trace) = process_span(identity, item, id, &context.trace);
    // Without a subscriber the span has no context; the record's own is then passed on.
    let created_in = match trace.trace_id() {
        Some(_) => std::mem::replace(&mut context.trace, trace),
        None => context.trace.clone(),
    };
    if let Some(id) = id {
        context.causation_id = Some(id.to_string());
    }
    let topic = identity.origin.clone();
    let epoch = epoch.map(|number| Epoch {
        group: identity.consumer_group,
        topic: record.topic.clone(),
        partition: tenure.slot.partition,
        number,
    });
    let (partition, offset, attempt) = (record.partition, record.offset, item.failures + 1);
    Reading::Message(
        Delivery { message, context, topic, partition, offset, attempt, epoch, span },
        created_in,
    )
}

/// The process span of one attempt and its context: a child of the record's creation context, so that the trace id
/// goes on, and linked to it, as the semantic conventions ask.
///
/// In a trace that isn't recorded the span is there for its log lines: what only an exporter reads is left out then,
/// because this runs for every record.
fn process_span(
    identity: &Identity,
    item: &Item<RawRecord>,
    id: Option<Uuid>,
    created_in: &TraceContext,
) -> (Span, TraceContext) {
    let Item { record, failures, .. } = item;
    let topic = record.topic.as_str();
    let exported = !created_in.is_left_out();
    let constant = |text: &'static str| exported.then_some(text);
    let span = tracing::info_span!(
        parent: None,
        "process",
        otel.name = exported.then(|| format!("process {topic}")),
        otel.kind = constant("consumer"),
        messaging.system = constant("kafka"),
        messaging.operation.name = constant("process"),
        messaging.operation.type = constant("process"),
        messaging.destination.name = topic,
        messaging.destination.partition.id = record.partition,
        messaging.consumer.group.name = identity.group,
        messaging.kafka.offset = record.offset,
        messaging.message.id = id.map(tracing::field::display),
        messaging.kafka.message.key = record.key().and_then(key_text),
        messaging.attempt = (*failures > 0).then_some(failures + 1),
    );
    let trace = millrace_telemetry::continue_message(&span, created_in);
    (span, trace)
}

/// The span around one handing-over of several records. It only links: it belongs to many traces.
pub(super) fn batch_span(identity: &Identity, created_in: &[TraceContext]) -> Span {
    let topic = identity.origin.as_str();
    let span = tracing::info_span!(
        parent: None,
        "process_batch",
        otel.name = format_args!("process {topic}"),
        otel.kind = "consumer",
        messaging.system = "kafka",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = topic,
        messaging.consumer.group.name = identity.group,
        messaging.batch.message_count = created_in.len(),
    );
    for trace in created_in {
        millrace_telemetry::add_link(&span, trace);
    }
    span
}
