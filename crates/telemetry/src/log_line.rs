//! One JSON object a line: `timestamp level service trace_id span_id parent_id target message fields`.
//!
//! The fields of the enclosing spans come first and those of the event win over them, so that a line can be read
//! alone. A line never fails: a field that can't be formatted is written as far as it goes.

use std::sync::OnceLock;

use millrace_runtime::Clock;
use opentelemetry::trace::TraceContextExt;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::dispatcher::WeakDispatch;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Subscriber};
use tracing_opentelemetry::get_otel_context;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, SpanRef};

use crate::fields::{Collector, FieldRules, Fields};
use crate::sink::Sink;
use crate::trace::RemoteParent;

/// A span's fields, kept beside it until its lines are written.
struct SpanFields(Fields);

#[derive(Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'a str,
    service: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    target: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Map::is_empty")]
    fields: Map<String, Value>,
}

#[derive(Default)]
struct Ids {
    trace: Option<String>,
    span: Option<String>,
    parent: Option<String>,
}

/// The layer that writes log lines.
pub(crate) struct LogLines {
    service: &'static str,
    rules: FieldRules,
    sink: Sink,
    clock: Clock,
    // Weak, because the dispatcher owns this layer.
    dispatch: OnceLock<WeakDispatch>,
}

impl LogLines {
    pub(crate) fn new(service: &'static str, rules: FieldRules, sink: Sink, clock: Clock) -> Self {
        Self { service, rules, sink, clock, dispatch: OnceLock::new() }
    }

    fn ids<S>(&self, span: &SpanRef<'_, S>) -> Ids
    where
        S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    {
        let Some(dispatch) = self.dispatch.get().and_then(WeakDispatch::upgrade) else {
            return Ids::default();
        };
        let context_of = |id: &Id| {
            let context = get_otel_context(id, &dispatch)?;
            let span_context = context.span().span_context().clone();
            span_context.is_valid().then_some(span_context)
        };
        let Some(own) = context_of(&span.id()) else {
            return Ids::default();
        };
        let remote = span.extensions().get::<RemoteParent>().copied();
        let parent = match remote {
            Some(RemoteParent(id)) => Some(id),
            None => {
                span.parent().and_then(|parent| context_of(&parent.id())).map(|it| it.span_id())
            }
        };
        Ids {
            trace: Some(own.trace_id().to_string()),
            span: Some(own.span_id().to_string()),
            parent: parent.map(|id| id.to_string()),
        }
    }
}

impl<S> Layer<S> for LogLines
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        self.dispatch.get_or_init(|| dispatch.downgrade());
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut collector = Collector::new(&self.rules, attributes.fields().len());
        attributes.record(&mut collector);
        if let Some(span) = context.span(id) {
            span.extensions_mut().replace(SpanFields(collector.fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut collector = Collector::new(&self.rules, values.len());
        values.record(&mut collector);
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<SpanFields>()
        {
            fields.0.append(collector.fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Map::new();
        let mut ids = Ids::default();
        if let Some(span) = context.event_span(event) {
            ids = self.ids(&span);
            for outer in span.scope().from_root() {
                if let Some(of_span) = outer.extensions().get::<SpanFields>() {
                    of_span.0.write(&mut fields, &self.rules.redaction);
                }
            }
        }
        let mut collector = Collector::new(&self.rules, event.fields().count());
        event.record(&mut collector);
        collector.fields.write(&mut fields, &self.rules.redaction);
        let line = Line {
            timestamp: self.clock.now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            level: event.metadata().level().as_str(),
            service: self.service,
            trace_id: ids.trace,
            span_id: ids.span,
            parent_id: ids.parent,
            target: event.metadata().target(),
            message: collector.message.unwrap_or_default(),
            fields,
        };
        // Texts, numbers and maps with text keys always have a JSON form.
        if let Ok(mut text) = serde_json::to_string(&line) {
            text.push('\n');
            self.sink.write(&text);
        }
    }
}
