//! What goes to `request-logs`: one line a request, from every service. May be lost; never waited for.

use millrace_envelope::{EncodedRecord, Envelope, MessageContext, events};
use millrace_http::RequestRecord;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

events! {
    /// What was asked of a service.
    pub enum RequestLogEvent on "request-logs", aggregate "request", key service {
        "request.logged" v1 => Logged(RequestLogged),
    }
}

/// One request and its answer. The record's id and time are the envelope's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestLogged {
    /// Who answered.
    pub service: String,
    /// `INFO`, `WARN` (4xx) or `ERROR` (5xx).
    pub level: String,
    /// HTTP method.
    pub method: String,
    /// The route's template, never the raw path.
    pub route: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// From the first byte read to the answer's head, microseconds.
    pub latency_us: u64,
    /// The trace, 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// The caller's subject, when known.
    pub caller: Option<String>,
}

/// The message for one record.
///
/// Its key is its own id and not the service: lines need no order, and one service's lines must not all land in
/// one partition. It carries no trace context: a line about a request is not a step of it.
pub(crate) fn encode(record: &RequestRecord) -> EncodedRecord {
    let logged = RequestLogged {
        service: record.service.to_owned(),
        level: record.level.to_owned(),
        method: record.method.to_owned(),
        route: record.route.clone(),
        status: record.status,
        latency_us: record.latency_us,
        trace_id: record.trace_id.clone(),
        caller: record.caller.clone(),
    };
    let id = Uuid::now_v7();
    let envelope = Envelope::new(id, record.service, record.at_ms, RequestLogEvent::Logged(logged));
    let mut message = envelope
        .encode(&MessageContext::default())
        .expect("a flat struct of texts and numbers has a JSON form");
    message.key = id.to_string().into_bytes();
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = include_str!("../tests/golden/request.logged.v1.json");

    #[test]
    fn the_event_keeps_its_form() {
        let envelope = Envelope::<RequestLogEvent>::decode(GOLDEN.as_bytes()).unwrap();
        assert_eq!(envelope.to_text().unwrap(), GOLDEN.trim_end());
    }
}
