//! The server span: child of the caller's, named by the path's template.

use actix_web::body::BoxBody;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::HeaderMap;
use actix_web::middleware::Next;
use millrace_envelope::TraceContext;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::facts::UNMATCHED;
use super::{Facts, Outcome, status_of};
use crate::chain::Chain;

pub(crate) async fn trace(request: ServiceRequest, next: Next<BoxBody>) -> Outcome {
    let started = Chain::of(request.request()).clock.monotonic();
    let facts = Facts::gather(&request, started);
    let span = server_span(&facts);
    millrace_telemetry::set_parent(&span, &incoming(request.headers()));
    let outcome = next.call(request).instrument(span.clone()).await;
    let status = status_of(&outcome);
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("error.type", status);
        span.record("otel.status_code", "ERROR");
    }
    outcome
}

fn server_span(facts: &Facts) -> Span {
    let name = match facts.route.as_str() {
        UNMATCHED => facts.method.to_owned(),
        route => format!("{} {route}", facts.method),
    };
    tracing::info_span!(
        "http",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = facts.method,
        http.route = facts.route,
        http.response.status_code = Empty,
        url.path = facts.path,
        error.type = Empty,
    )
}

fn incoming(headers: &HeaderMap) -> TraceContext {
    let text =
        |name| headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned();
    TraceContext {
        traceparent: text("traceparent"),
        tracestate: text("tracestate"),
        baggage: text("baggage"),
    }
}
