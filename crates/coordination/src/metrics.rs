//! The leases' metrics, declared once. Lease names are constants of the program, so the label is bounded.

use std::sync::LazyLock;

use millrace_telemetry::metrics::{
    IntCounter, IntCounterVec, IntGaugeVec, counter, counter_vec, gauge_vec,
};

pub(crate) static ACQUISITIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "lease_acquisitions_total",
        "Attempts to acquire a lease: acquired, held (by someone else), failed.",
        &["lease", "outcome"],
    )
});

pub(crate) static HELD: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauge_vec("lease_held", "1 while this instance holds the lease.", &["lease"]));

pub(crate) static RENEW_FAILURES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec("lease_renew_failures_total", "Renewals that got no answer.", &["lease"])
});

pub(crate) static LOST: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec("lease_lost_total", "Leases that ended before their work did.", &["lease"])
});

pub(crate) static FENCED_OUT: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "lease_fenced_out_total",
        "Writes refused at a sink because of their token.",
        &["lease"],
    )
});

pub(crate) static INCARNATIONS: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "lease_incarnations_total",
        "Incarnations drawn because Redis' memory was not to be trusted.",
    )
});
