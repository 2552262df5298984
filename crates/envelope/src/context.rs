//! What travels beside an event: on whose behalf, because of what, and in which trace.

/// A W3C trace context as text: <https://www.w3.org/TR/trace-context/>.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`: version, trace id, parent span id, flags. Empty when there is no trace.
    pub traceparent: String,
    /// `tracestate`, empty when absent.
    pub tracestate: String,
    /// `baggage`, empty when absent.
    pub baggage: String,
}

impl TraceContext {
    /// The 32 hexadecimal digits of the trace id, if there is a well-formed one.
    #[must_use]
    pub fn trace_id(&self) -> Option<&str> {
        let id = self.traceparent.split('-').nth(1)?;
        let valid = id.len() == 32
            && id.bytes().all(|byte| byte.is_ascii_hexdigit())
            && id.bytes().any(|byte| byte != b'0');
        valid.then_some(id)
    }
}

/// Who caused a message and in which trace; becomes `ce_*` and trace headers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageContext {
    /// The caller on whose behalf it happened, `ce_actor`.
    pub actor: Option<String>,
    /// The tenant, `ce_tenant`.
    pub tenant: Option<String>,
    /// The same for everything that one request set off, `ce_correlationid`.
    pub correlation_id: Option<String>,
    /// The id of the message that directly caused this one, `ce_causationid`.
    pub causation_id: Option<String>,
    /// The creation context of the message.
    pub trace: TraceContext,
}
