//! The headers beside an envelope: CloudEvents 1.0 in the Kafka protocol binding's binary mode (`ce_*`) and the
//! W3C trace context.
//!
//! Sources: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md>,
//! <https://www.w3.org/TR/trace-context/>, <https://www.w3.org/TR/baggage/>.

use chrono::{DateTime, SecondsFormat};

use crate::{MessageContext, TraceContext};

/// Header values of foreign messages longer than this are not read.
const VALUE_BYTES_MAX: usize = 8 * 1024;

/// What the headers say about one message, beside its context.
pub(crate) struct Attributes<'a> {
    pub(crate) id: String,
    pub(crate) event_type: &'a str,
    pub(crate) source: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) timestamp_ms: i64,
}

pub(crate) fn write(
    attributes: &Attributes<'_>,
    context: &MessageContext,
) -> Vec<(String, Vec<u8>)> {
    let mut headers = Vec::with_capacity(12);
    let mut put = |name: &str, value: &str| {
        if !value.is_empty() {
            headers.push((name.to_owned(), value.as_bytes().to_vec()));
        }
    };
    put("ce_specversion", "1.0");
    put("ce_id", &attributes.id);
    put("ce_type", attributes.event_type);
    put("ce_source", &format!("/{}", attributes.source));
    put("ce_time", &rfc3339(attributes.timestamp_ms));
    put("ce_subject", attributes.subject);
    put("ce_actor", context.actor.as_deref().unwrap_or_default());
    put("ce_tenant", context.tenant.as_deref().unwrap_or_default());
    put("ce_correlationid", context.correlation_id.as_deref().unwrap_or_default());
    put("ce_causationid", context.causation_id.as_deref().unwrap_or_default());
    put("content-type", "application/json");
    put("traceparent", &context.trace.traceparent);
    put("tracestate", &context.trace.tracestate);
    put("baggage", &context.trace.baggage);
    headers
}

/// The text of the last header called `name`, if it is UTF-8 and of a sane length.
pub fn text_header<'a>(
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    name: &str,
) -> Option<String> {
    let mut found = None;
    for (key, value) in headers {
        if key == name && value.len() <= VALUE_BYTES_MAX {
            found = std::str::from_utf8(value).ok().map(str::to_owned);
        }
    }
    found
}

/// Reads the context that [`crate::Envelope::encode`] wrote; what is absent or unreadable stays empty.
pub fn read_context<'a, H>(headers: H) -> MessageContext
where
    H: IntoIterator<Item = (&'a str, &'a [u8])> + Clone,
{
    let text = |name: &str| text_header(headers.clone(), name);
    MessageContext {
        actor: text("ce_actor"),
        tenant: text("ce_tenant"),
        correlation_id: text("ce_correlationid"),
        causation_id: text("ce_causationid"),
        trace: TraceContext {
            traceparent: text("traceparent").unwrap_or_default(),
            tracestate: text("tracestate").unwrap_or_default(),
            baggage: text("baggage").unwrap_or_default(),
        },
    }
}

fn rfc3339(timestamp_ms: i64) -> String {
    DateTime::from_timestamp_millis(timestamp_ms)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}
