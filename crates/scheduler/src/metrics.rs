//! The scheduler's metrics, declared once. Tasks are named by operators, so no label is a task's name.

use std::sync::LazyLock;

use millrace_telemetry::metrics::{
    DELIVERY_BUCKETS, Histogram, IntCounter, IntCounterVec, IntGauge, counter, counter_vec, gauge,
    histogram,
};

pub(crate) static DISPATCH_LAG: LazyLock<Histogram> = LazyLock::new(|| {
    histogram(
        "scheduler_dispatch_lag_seconds",
        "From the moment an occurrence was to begin to its dispatch.",
        DELIVERY_BUCKETS,
    )
});

pub(crate) static DISPATCHED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("scheduler_dispatched_total", "Attempts of occurrences given to the workers.")
});

pub(crate) static OCCURRENCES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "scheduler_occurrences_total",
        "Occurrences that ended, by how: done, failed, skipped, missed, cancelled, terminated, timed_out.",
        &["outcome"],
    )
});

pub(crate) static RETRIES: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("scheduler_retries_total", "Attempts that failed and are to be made again.")
});

pub(crate) static OPEN: LazyLock<IntGauge> = LazyLock::new(|| {
    gauge(
        "scheduler_open_occurrences",
        "Occurrences that have begun and not ended; counting stops at 100000.",
    )
});

pub(crate) static REFUSED_WRITES: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "scheduler_refused_writes_total",
        "Transactions of runs that were no longer theirs to make: taken over, terminated, too late.",
    )
});

pub(crate) static DELIVERIES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "scheduler_deliveries_total",
        "Messages that reached a worker: taken, foreign (another service's), settled (nothing is left to do).",
        &["outcome"],
    )
});

pub(crate) static ACTIVE: LazyLock<IntGauge> =
    LazyLock::new(|| gauge("scheduler_dispatcher_active", "1 while this instance dispatches."));

pub(crate) static PASSES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "scheduler_passes_total",
        "Looks at due tasks: leased, unleased, fenced (the token was refused), failed.",
        &["outcome"],
    )
});

pub(crate) static UNREADABLE: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "scheduler_unreadable_tasks_total",
        "Looks at due tasks whose stored form this release can't read.",
    )
});
