//! `request-logs`: one line a request, from every service. May be lost; never waited for.

use millrace_envelope::events;
use serde::{Deserialize, Serialize};

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
