//! What is remembered of a request after its answer.

/// One answered request, as the chain hands it to whoever keeps request logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestRecord {
    /// When it came, milliseconds since 1970-01-01 UTC.
    pub at_ms: i64,
    /// The service that answered.
    pub service: &'static str,
    /// The method, `_OTHER` when it is none of the known ones.
    pub method: &'static str,
    /// The path's template, e.g. `/api/v1/orders/{id}`; `unmatched` when there is none.
    pub route: String,
    /// The status; 499 when the caller went away before the answer.
    pub status: u16,
    /// From the request's head to the answer's head.
    pub latency_us: u64,
    /// The trace it belongs to.
    pub trace_id: Option<String>,
    /// The subject of the caller's token.
    pub caller: Option<String>,
    /// The body's length as the caller announced it.
    pub request_bytes: u64,
    /// The answer's length, when it was known at its head.
    pub response_bytes: u64,
    /// `INFO`, `WARN` (4xx) or `ERROR` (5xx): how the answer looks to somebody who searches.
    pub level: &'static str,
}

/// Who keeps records of requests. Called on the thread that answers: it must not wait.
pub trait RequestLog: Send + Sync + 'static {
    /// Takes one record.
    fn record(&self, record: RequestRecord);
}
