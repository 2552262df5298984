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

    /// True when whoever began the trace decided that it isn't recorded; false also when nobody did.
    #[must_use]
    pub fn is_left_out(&self) -> bool {
        let flags = self.traceparent.split('-').nth(3);
        let flags = flags.and_then(|flags| u8::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & 1 == 0) && self.trace_id().is_some()
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

impl MessageContext {
    /// What a service does by itself in this trace: nobody asked for it. The correlation id is the trace's id: one piece
    /// of work, one id, wherever somebody looks.
    #[must_use]
    pub fn of_own_work(trace: TraceContext) -> Self {
        Self { correlation_id: trace.trace_id().map(str::to_owned), trace, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_left_out_only_when_its_flags_say_so() {
        let left_out = |text: &str| {
            TraceContext { traceparent: text.to_owned(), ..TraceContext::default() }.is_left_out()
        };
        let id = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
        assert!(left_out(&format!("{id}-00")) && left_out(&format!("{id}-02")));
        for recorded_or_unknown in [&format!("{id}-01"), &format!("{id}-03"), id, "", "00-x-y-00"] {
            assert!(!left_out(recorded_or_unknown), "{recorded_or_unknown}");
        }
    }
}
