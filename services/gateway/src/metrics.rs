//! Every metric of the gateway, declared once. The server's own request metrics are the chassis'.

use std::sync::LazyLock;

use millrace_common::telemetry::metrics::{
    self, HistogramVec, IntCounterVec, IntGaugeVec, LATENCY_BUCKETS,
};

/// From asking an upstream to the head of its answer, by what came of it: a status, or `unreachable`, `timeout`.
pub(crate) static CALL_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::histogram_vec(
        "http_client_request_duration_seconds",
        "Calls to upstreams until the head of the answer.",
        &["upstream", "method", "outcome"],
        LATENCY_BUCKETS,
    )
});

/// What each circuit breaker is doing.
pub(crate) static CIRCUIT_STATE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    metrics::gauge_vec(
        "gateway_circuit_state",
        "Circuit of an upstream: 0 closed, 1 half-open, 2 open.",
        &["upstream"],
    )
});

/// Requests that weren't passed on, by why.
pub(crate) static REFUSED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter_vec(
        "gateway_requests_refused_total",
        "Requests answered without asking the upstream.",
        &["route", "reason"],
    )
});

/// Second attempts after a connection could not be opened.
pub(crate) static RETRIES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter_vec("gateway_upstream_retries_total", "Calls tried again.", &["upstream"])
});

/// Answers whose body ended early.
pub(crate) static BROKEN_ANSWERS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counter_vec(
        "gateway_upstream_answers_broken_total",
        "Answers cut off because the upstream ended or paused in the middle of the body.",
        &["upstream"],
    )
});
