//! Trace contexts in and out of tracing's spans, as W3C text.

use std::sync::LazyLock;

use millrace_envelope::TraceContext;
use opentelemetry::Context;
use opentelemetry::propagation::{
    Extractor, Injector, TextMapCompositePropagator, TextMapPropagator,
};
use opentelemetry::trace::{SpanId, TraceContextExt};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Registry;
use tracing_subscriber::registry::LookupSpan;

static W3C: LazyLock<TextMapCompositePropagator> = LazyLock::new(|| {
    TextMapCompositePropagator::new(vec![
        Box::new(TraceContextPropagator::new()),
        Box::new(BaggagePropagator::new()),
    ])
});

/// The span that a span of this process continues, when it belongs to another process. Kept beside the span,
/// because an OpenTelemetry span doesn't tell its parent and every log line names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RemoteParent(pub(crate) SpanId);

/// The context of the current span: what a record or request made here carries.
#[must_use]
pub fn current_trace() -> TraceContext {
    trace_of(&Span::current())
}

/// The context of a span; empty when there is no subscriber.
#[must_use]
pub fn trace_of(span: &Span) -> TraceContext {
    let mut carrier = Carrier(TraceContext::default());
    W3C.inject_context(&span.context(), &mut carrier);
    carrier.0
}

/// The trace id of the current span, 32 hexadecimal digits.
#[must_use]
pub fn current_trace_id() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let span_context = span.span_context();
    span_context.is_valid().then(|| span_context.trace_id().to_string())
}

/// Makes a new span continue `trace`, which came from another process. An empty or malformed context changes
/// nothing, and neither does a span that was already handed on: its parent can't move any more.
pub fn set_parent(span: &Span, trace: &TraceContext) {
    adopt(span, W3C.extract(&Origin(trace)));
}

/// Links a span to `trace` without making it a child: for a batch, which has many origins.
pub fn add_link(span: &Span, trace: &TraceContext) {
    if !trace.traceparent.is_empty() {
        let context = W3C.extract(&Origin(trace));
        span.add_link(context.span().span_context().clone());
    }
}

/// Makes a new span the one that handles the message which was created in `trace`: it continues the trace and, as the
/// semantic conventions for messaging ask, links to it. Returns the span's own context, empty without a subscriber.
///
/// A trace that isn't sampled gets no link: nobody will ever see it.
pub fn continue_message(span: &Span, trace: &TraceContext) -> TraceContext {
    if !trace.traceparent.is_empty() {
        let context = W3C.extract(&Origin(trace));
        let origin = context.span().span_context().clone();
        adopt(span, context);
        if origin.is_sampled() {
            span.add_link(origin);
        }
    }
    trace_of(span)
}

fn adopt(span: &Span, context: Context) {
    let parent = context.span().span_context().clone();
    if !parent.is_valid() || span.set_parent(context).is_err() {
        return;
    }
    span.with_subscriber(|(id, dispatch)| {
        if let Some(found) =
            dispatch.downcast_ref::<Registry>().and_then(|registry| registry.span(id))
        {
            found.extensions_mut().replace(RemoteParent(parent.span_id()));
        }
    });
}

/// Lets the propagators write our three texts.
struct Carrier(TraceContext);

/// Lets them read these.
struct Origin<'a>(&'a TraceContext);

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        match key {
            "traceparent" => self.0.traceparent = value,
            "tracestate" => self.0.tracestate = value,
            "baggage" => self.0.baggage = value,
            _ => {}
        }
    }
}

impl Extractor for Origin<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let text = match key {
            "traceparent" => &self.0.traceparent,
            "tracestate" => &self.0.tracestate,
            "baggage" => &self.0.baggage,
            _ => return None,
        };
        (!text.is_empty()).then_some(text)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate", "baggage"]
    }
}
