//! The relay's metrics, declared once.

use std::sync::LazyLock;

use millrace_telemetry::metrics::{
    Gauge, IntCounterVec, IntGauge, counter_vec, float_gauge, gauge,
};

pub(super) static BACKLOG: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge("outbox_backlog", "Rows waiting in the outbox; counting stops at 100000.")
});

pub(super) static OLDEST_SECONDS: LazyLock<Gauge> =
    LazyLock::new(|| float_gauge("outbox_oldest_seconds", "Age of the oldest row in the outbox."));

pub(super) static HELD_AGGREGATES: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge("outbox_held_aggregates", "Aggregates held back because their last row was not accepted.")
});

pub(super) static SET_ASIDE: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge(
        "outbox_set_aside",
        "Aggregates set aside after repeated failures; an operator releases them.",
    )
});

pub(super) static PUBLISHED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec("outbox_published_total", "Rows that the broker acknowledged.", &["topic"])
});

pub(super) static PUBLISH_FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "outbox_publish_failures_total",
        "Rows that the broker did not accept.",
        &["topic", "class"],
    )
});
