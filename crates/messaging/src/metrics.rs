//! Every metric of this crate, declared once.

use std::sync::LazyLock;

use millrace_telemetry::metrics::{
    DELIVERY_BUCKETS, HistogramVec, IntCounterVec, IntGaugeVec, counter_vec, gauge_vec,
    histogram_vec,
};

static SENT: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "messaging_messages_sent_total",
        "Messages that the broker acknowledged.",
        &["topic", "service"],
    )
});

static LATENCY: LazyLock<HistogramVec> = LazyLock::new(|| {
    histogram_vec(
        "messaging_latency_seconds",
        "From a record's timestamp to the end of its handling.",
        &["topic"],
        DELIVERY_BUCKETS,
    )
});

static LAG: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec(
        "kafka_consumer_lag",
        "Records of an owned partition that are not yet finished.",
        &["group", "topic", "partition"],
    )
});

static HANDLED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    by_group("messaging_records_handled_total", "Records that a handler finished.")
});
static RETRIES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    by_group(
        "messaging_retries_total",
        "Times that a record was handed over again after a failure.",
    )
});
static DEAD_LETTERS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "messaging_dead_letters_total",
        "Records that went to the dead-letter topic, by error code.",
        &["group", "topic", "code"],
    )
});
static SKIPPED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    by_group(
        "messaging_records_skipped_total",
        "Records of types that the group doesn't subscribe to.",
    )
});
static REBALANCES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "messaging_rebalances_total",
        "Changes of the partitions that a consumer owns, by kind.",
        &["group", "topic", "kind"],
    )
});

fn by_group(name: &str, help: &str) -> IntCounterVec {
    counter_vec(name, help, &["group", "topic"])
}

pub(crate) fn sent(topic: &str) {
    SENT.with_label_values(&[topic, millrace_telemetry::service()]).inc();
}

pub(crate) fn latency(topic: &str, seconds: f64) {
    LATENCY.with_label_values(&[topic]).observe(seconds);
}

pub(crate) fn lag(group: &str, topic: &str, partition: i32, records: i64) {
    LAG.with_label_values(&[group, topic, &partition.to_string()]).set(records);
}

/// Takes the lag of a partition that is no longer owned off the page.
pub(crate) fn forget_lag(group: &str, topic: &str, partition: i32) {
    // An error says that it was never measured.
    drop(LAG.remove_label_values(&[group, topic, &partition.to_string()]));
}

pub(crate) fn handled(group: &str, topic: &str, records: usize) {
    HANDLED.with_label_values(&[group, topic]).inc_by(records as u64);
}

pub(crate) fn retried(group: &str, topic: &str) {
    RETRIES.with_label_values(&[group, topic]).inc();
}

pub(crate) fn dead_lettered(group: &str, topic: &str, code: &str) {
    DEAD_LETTERS.with_label_values(&[group, topic, code]).inc();
}

pub(crate) fn skipped(group: &str, topic: &str) {
    SKIPPED.with_label_values(&[group, topic]).inc();
}

pub(crate) fn rebalanced(group: &str, topic: &str, kind: &str) {
    REBALANCES.with_label_values(&[group, topic, kind]).inc();
}
