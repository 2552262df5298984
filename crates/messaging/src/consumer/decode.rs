//! From a record's bytes to a delivery, inside the handling boundary: whatever the bytes are, the outcome is one of
//! three, and none of them is an error that could stop the loop.

use millrace_envelope::{DecodeError, Envelope, Event, MessageContext, TraceContext, read_context};
use tracing::Span;

use super::failure::Failure;
use super::identity::Identity;
use super::record::Record;
use crate::Delivery;
use crate::naming::key_text;

/// What a record turned out to be.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for a moment, and the large variant is the usual one"
)]
pub(super) enum Decoded<E> {
    /// An event for the handler, and the context it was created in.
    Event(Delivery<E>, TraceContext),
    /// Somebody else's event.
    Skip,
    /// Nothing that a handler could be given; the span is where its log line belongs.
    Dead(Failure, Span),
}

pub(super) fn decode<E: Event>(identity: &Identity, record: &Record) -> Decoded<E> {
    let Some(headers) = record.headers() else {
        let span = process_span(identity, record, &MessageContext::default());
        return Decoded::Dead(Failure::undecodable("the name of a header is not UTF-8"), span);
    };
    let texts = headers.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
    let mut context = read_context(texts);
    let Some(payload) = &record.payload else {
        let span = process_span(identity, record, &context);
        return Decoded::Dead(Failure::undecodable("the value is null"), span);
    };
    match Envelope::<E>::decode(payload) {
        Ok(envelope) => {
            let span = process_span(identity, record, &context);
            span.record("messaging.message.id", tracing::field::display(envelope.id));
            // Without a subscriber the span has no context; the record's own is then passed on.
            let trace = millrace_telemetry::trace_of(&span);
            let created_in = context.trace.clone();
            if trace.trace_id().is_some() {
                context.trace = trace;
            }
            context.causation_id = Some(envelope.id.to_string());
            let (partition, offset) = (record.partition, record.offset);
            Decoded::Event(Delivery { envelope, context, partition, offset, span }, created_in)
        }
        Err(DecodeError::NotSubscribed { .. }) => Decoded::Skip,
        Err(error) => {
            let span = process_span(identity, record, &context);
            Decoded::Dead(Failure::of_decoding(&error), span)
        }
    }
}

/// The process span of one record: a child of its creation context, so that the trace id goes on, and linked to it,
/// as the semantic conventions ask.
fn process_span(identity: &Identity, record: &Record, context: &MessageContext) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "process",
        otel.name = format_args!("process {}", identity.topic),
        otel.kind = "consumer",
        messaging.system = "kafka",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = identity.topic,
        messaging.destination.partition.id = record.partition,
        messaging.consumer.group.name = identity.group,
        messaging.kafka.offset = record.offset,
        messaging.message.id = tracing::field::Empty,
        messaging.kafka.message.key = record.key.as_deref().and_then(key_text),
    );
    millrace_telemetry::set_parent(&span, &context.trace);
    millrace_telemetry::add_link(&span, &context.trace);
    span
}

/// The span around one handing-over of several records. It only links: it belongs to many traces.
pub(super) fn batch_span(identity: &Identity, created_in: &[TraceContext]) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "process_batch",
        otel.name = format_args!("process {}", identity.topic),
        otel.kind = "consumer",
        messaging.system = "kafka",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = identity.topic,
        messaging.consumer.group.name = identity.group,
        messaging.batch.message_count = created_in.len(),
    );
    for trace in created_in {
        millrace_telemetry::add_link(&span, trace);
    }
    span
}
