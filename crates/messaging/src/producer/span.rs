//! The span of one send: from the hand-over to the client until the record's fate is known.

use millrace_envelope::{TraceContext, text_header};
use tracing::Span;
use tracing::field::Empty;

use super::PublishError;
use super::call::Fate;
use crate::naming::key_text;

/// A span in the trace of the record's creation. A record whose trace is not sampled gets none: the span would be
/// thrown away at its end, and its making is a good part of what a send costs.
pub(super) fn start<'a>(
    topic: &str,
    key: Option<&[u8]>,
    headers: impl Iterator<Item = (&'a str, &'a [u8])> + Clone,
) -> Span {
    let header = |name| text_header(headers.clone(), name).unwrap_or_default();
    let traceparent = header("traceparent");
    if unsampled(&traceparent) {
        return Span::none();
    }
    let span = tracing::info_span!(
        "send",
        otel.name = format_args!("send {topic}"),
        otel.kind = "producer",
        otel.status_code = Empty,
        error.type = Empty,
        messaging.system = "kafka",
        messaging.operation.name = "send",
        messaging.operation.type = "send",
        messaging.destination.name = topic,
        messaging.destination.partition.id = Empty,
        messaging.kafka.offset = Empty,
        messaging.kafka.message.key = key.and_then(key_text),
    );
    if !span.is_disabled() {
        let tracestate = header("tracestate");
        let trace = TraceContext { traceparent, tracestate, baggage: String::new() };
        millrace_telemetry::set_parent(&span, &trace);
    }
    span
}

/// Writes down what became of the record.
pub(super) fn finish(span: &Span, fate: &Fate) {
    match fate {
        Ok(position) if !span.is_disabled() => {
            // Text, because the conventions make a partition's id a text everywhere.
            span.record("messaging.destination.partition.id", position.partition.to_string());
            span.record("messaging.kafka.offset", position.offset);
        }
        Ok(_) => {}
        Err(error) => failed(span, error),
    }
}

pub(super) fn failed(span: &Span, error: &PublishError) {
    if !span.is_disabled() {
        span.record("error.type", error_type(error));
        span.record("otel.status_code", "ERROR");
    }
}

fn error_type(error: &PublishError) -> &'static str {
    match error {
        PublishError::TooLarge { .. } => "too_large",
        PublishError::QueueFull => "queue_full",
        PublishError::NotAcknowledged { .. } => "not_acknowledged",
        PublishError::Refused { .. } => "refused",
        PublishError::Closed => "closed",
    }
}

/// True when a W3C trace context says that its trace is not sampled.
fn unsampled(traceparent: &str) -> bool {
    const FLAGS_AT: usize = 53;
    const SAMPLED: u8 = 1;
    let flags = traceparent.get(FLAGS_AT..FLAGS_AT + 2);
    flags.and_then(|flags| u8::from_str_radix(flags, 16).ok()).is_some_and(|f| f & SAMPLED == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_context_that_says_so_is_unsampled() {
        let traced = |flags: &str| {
            unsampled(&format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}"))
        };
        assert!(traced("00"));
        assert!(traced("02"));
        assert!(!traced("01"));
        assert!(!traced("03"));
        assert!(!traced("zz"));
        assert!(!unsampled(""));
        assert!(!unsampled("00-äöü"));
    }
}
