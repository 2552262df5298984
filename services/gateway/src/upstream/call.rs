//! One call: attempts inside the deadline, each with its client span, its trace context and what is left of the
//! time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use millrace_common::envelope::TraceContext;
use millrace_common::resilience::Deadline;
use millrace_common::resilience::deadline::DEADLINE_HEADER;
use millrace_common::telemetry;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Response, Url};
use tracing::field::Empty;
use tracing::{Instrument, Span};

use super::{CallFailure, Upstream};
use crate::metrics;
use crate::routes::Method;

/// What is asked of an upstream.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// The route's template, for names that must not vary by request.
    pub(crate) template: String,
    /// Path and query, as the client sent them.
    pub(crate) target: String,
    /// Complete but for the trace and the deadline, which differ by attempt.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) deadline: Deadline,
    /// The client asked for less time than the route gives.
    pub(crate) cut_by_client: bool,
}

/// A repeatable request whose connection can't be opened is tried this often.
const ATTEMPTS_MAX: u32 = 2;
/// Kept back for the gateway's own answer when an upstream is silent; less than a hop's reserve.
const ANSWER_RESERVE: Duration = Duration::from_millis(5);

impl Upstream {
    pub(super) async fn attempt_within_deadline(
        &self,
        call: &Call,
        url: &Url,
    ) -> Result<Response, CallFailure> {
        let mut attempt = 1;
        loop {
            let outcome = self.attempt(call, url, attempt).await;
            match &outcome {
                Err(CallFailure::Unreachable { cause })
                    if cause.is_connect() && call.method.repeatable() && attempt < ATTEMPTS_MAX =>
                {
                    metrics::RETRIES.with_label_values(&[self.name.as_str()]).inc();
                    attempt += 1;
                }
                Ok(_) | Err(_) => return outcome,
            }
        }
    }

    async fn attempt(&self, call: &Call, url: &Url, attempt: u32) -> Result<Response, CallFailure> {
        let started = Instant::now();
        let Some(for_next_hop) = call.deadline.for_next_hop(started) else {
            return Err(CallFailure::NoTimeLeft);
        };
        let span = client_span(self.name.as_str(), call, url, attempt);
        let mut headers = call.headers.clone();
        put_trace(&mut headers, &telemetry::trace_of(&span));
        headers.insert(DEADLINE_HEADER, milliseconds(for_next_hop));
        let request = self
            .client
            .request(method_of(call.method), url.clone())
            .headers(headers)
            .body(call.body.clone())
            .send();
        // The upstream was given a little less, so that it can say itself that time ran out; and this wait ends
        // before the server's own deadline, which would answer without knowing the hop.
        let whole = call.deadline.left(started).saturating_sub(ANSWER_RESERVE);
        let outcome = match tokio::time::timeout(whole, request.instrument(span.clone())).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(cause)) if cause.is_timeout() && !cause.is_connect() => {
                Err(CallFailure::TimedOut { waited: started.elapsed() })
            }
            Ok(Err(cause)) => Err(CallFailure::Unreachable { cause: cause.without_url() }),
            Err(_) => Err(CallFailure::TimedOut { waited: started.elapsed() }),
        };
        self.record(&span, call, &outcome, started.elapsed());
        outcome
    }

    fn record(
        &self,
        span: &Span,
        call: &Call,
        outcome: &Result<Response, CallFailure>,
        elapsed: Duration,
    ) {
        let status = outcome.as_ref().ok().map(|answer| answer.status());
        let word = match outcome {
            Ok(answer) => answer.status().as_str().to_owned(),
            Err(CallFailure::TimedOut { .. }) => "timeout".to_owned(),
            Err(_) => "unreachable".to_owned(),
        };
        if let Some(status) = status {
            span.record("http.response.status_code", status.as_u16());
        }
        if status.is_none_or(|status| status.as_u16() >= 400) {
            span.record("error.type", word.as_str());
            span.record("otel.status_code", "ERROR");
        }
        metrics::CALL_SECONDS
            .with_label_values(&[self.name.as_str(), call.method.as_str(), &word])
            .observe(elapsed.as_secs_f64());
    }
}

/// A client span by OpenTelemetry's semantic conventions for HTTP.
fn client_span(upstream: &'static str, call: &Call, url: &Url, attempt: u32) -> Span {
    let span = tracing::info_span!(
        "http.client",
        otel.name = format_args!("{} {}", call.method.as_str(), call.template),
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = call.method.as_str(),
        http.request.resend_count = Empty,
        http.response.status_code = Empty,
        server.address = url.host_str().unwrap_or_default(),
        server.port = url.port_or_known_default().unwrap_or_default(),
        url.full = url.as_str(),
        url.template = call.template.as_str(),
        peer.service = upstream,
        error.type = Empty,
    );
    if attempt > 1 {
        span.record("http.request.resend_count", attempt - 1);
    }
    span
}

/// Replaces whatever trace headers came in: the upstream's parent is this client span and nothing else.
fn put_trace(headers: &mut HeaderMap, trace: &TraceContext) {
    for (name, text) in [
        ("traceparent", &trace.traceparent),
        ("tracestate", &trace.tracestate),
        ("baggage", &trace.baggage),
    ] {
        headers.remove(name);
        if let Some(value) = HeaderValue::from_str(text).ok().filter(|value| !value.is_empty()) {
            headers.insert(name, value);
        }
    }
}

fn milliseconds(span: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

fn method_of(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    }
}
