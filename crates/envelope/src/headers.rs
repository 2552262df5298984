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
        if key == name {
            take(&mut found, value);
        }
    }
    found.map(str::to_owned)
}

/// A later value wins, also one that can't be read; one that is too long is as good as absent.
fn take<'a>(found: &mut Option<&'a str>, value: &'a [u8]) {
    if value.len() <= VALUE_BYTES_MAX {
        *found = std::str::from_utf8(value).ok();
    }
}

/// Reads the context that [`crate::Envelope::encode`] wrote; what is absent or unreadable stays empty.
///
/// It looks at each header once: this runs for every record that is consumed.
pub fn read_context<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> MessageContext {
    let (mut actor, mut tenant, mut correlation, mut causation) = (None, None, None, None);
    let (mut traceparent, mut tracestate, mut baggage) = (None, None, None);
    for (name, value) in headers {
        let place = match name {
            "ce_actor" => &mut actor,
            "ce_tenant" => &mut tenant,
            "ce_correlationid" => &mut correlation,
            "ce_causationid" => &mut causation,
            "traceparent" => &mut traceparent,
            "tracestate" => &mut tracestate,
            "baggage" => &mut baggage,
            _ => continue,
        };
        take(place, value);
    }
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    MessageContext {
        actor: owned(actor),
        tenant: owned(tenant),
        correlation_id: owned(correlation),
        causation_id: owned(causation),
        trace: TraceContext {
            traceparent: text(traceparent),
            tracestate: text(tracestate),
            baggage: text(baggage),
        },
    }
}

fn rfc3339(timestamp_ms: i64) -> String {
    DateTime::from_timestamp_millis(timestamp_ms)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_readable_header_of_a_name_wins_and_one_that_is_too_long_is_absent() {
        let long = vec![b'a'; VALUE_BYTES_MAX + 1];
        let headers: [(&str, &[u8]); 8] = [
            ("ce_actor", b"first"),
            ("ce_tenant", b"acme"),
            ("ce_actor", b"second"),
            ("ce_tenant", &long),
            ("traceparent", b"readable"),
            ("traceparent", b"\xff"),
            ("unknown", b"x"),
            ("baggage", b"a=b"),
        ];
        let context = read_context(headers);
        assert_eq!(context.actor.as_deref(), Some("second"));
        assert_eq!(context.tenant.as_deref(), Some("acme"));
        assert_eq!((context.correlation_id, context.causation_id), (None, None));
        // What came last can't be read: to go back to an older value would be a guess.
        assert_eq!(context.trace.traceparent, "");
        assert_eq!(context.trace.baggage, "a=b");
        assert_eq!(text_header(headers, "traceparent"), None);
        assert_eq!(text_header(headers, "ce_actor").as_deref(), Some("second"));
    }
}
