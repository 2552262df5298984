//! The leases' metrics, declared once. Lease names are constants of the program, so the label is bounded.

use std::sync::LazyLock;

use millrace_telemetry::metrics::{
    HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, counter, counter_vec, gauge_vec,
    histogram_vec,
};

pub(crate) static ACQUISITIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "lease_acquisitions_total",
        "Attempts to acquire a lease: acquired, held (by someone else, to the end of the wait), full (the queue), failed.",
        &["lease", "outcome"],
    )
});

pub(crate) static HELD: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauge_vec("lease_held", "1 while this instance holds the lease.", &["lease"]));

pub(crate) static TOKEN: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec("lease_token", "Fencing token of the newest lease this instance had.", &["lease"])
});

pub(crate) static AGE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec(
        "lease_age_seconds",
        "How long this instance has held the lease, as of its last renewal.",
        &["lease"],
    )
});

pub(crate) static WAITERS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec("lease_waiters", "Attempts of this instance that wait for the lease.", &["lease"])
});

pub(crate) static WAIT: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram_vec(
        "lease_wait_seconds",
        "How long attempts that may wait did so, whether or not they got the lease.",
        &["lease"],
        &[0.001, 0.005, 0.02, 0.06, 0.25, 1.0, 5.0, 20.0, 60.0],
    )
});

pub(crate) static RENEW_FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec("lease_renew_failures_total", "Renewals that got no answer.", &["lease"])
});

pub(crate) static LOST: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec("lease_lost_total", "Leases that ended before their work did.", &["lease"])
});

pub(crate) static STUCK: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "lease_stuck_total",
        "Leases given up because their work showed no progress; counted among the lost ones too.",
        &["lease"],
    )
});

pub(crate) static FENCED_OUT: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "lease_fenced_out_total",
        "Writes refused at a sink because of their token.",
        &["lease"],
    )
});

pub(crate) static EXEMPT_WRITES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "lease_exempt_writes_total",
        "Transactions begun without a token, where a condition in the database alone decides.",
        &["lease"],
    )
});

pub(crate) static INCARNATIONS: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "lease_incarnations_total",
        "Incarnations drawn because Redis' memory was not to be trusted.",
    )
});
