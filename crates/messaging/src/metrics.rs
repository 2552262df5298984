//! Every metric of this crate, declared once.

mod queues;

use std::sync::LazyLock;

use millrace_telemetry::metrics::{
    DELIVERY_BUCKETS, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, counter_vec,
    gauge_vec, histogram_vec,
};

pub use queues::QueueCounts;
pub(crate) use queues::{Reading, show_queue};

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
static TIERED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "messaging_retry_topic_records_total",
        "Records that went to a retry topic, by its wait.",
        &["group", "topic", "tier"],
    )
});
static LETTERS_TOO_LARGE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec(
        "messaging_letters_too_large",
        "Letters that their topic refuses for their size; their records wait with them.",
        &["group", "topic"],
    )
});
static STALLS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    by_group(
        "messaging_stalls_total",
        "Times that a consumer had records and handed none over, for no reason that explains it.",
    )
});
static WENT_BACK: LazyLock<IntCounterVec> = LazyLock::new(|| {
    by_group(
        "messaging_log_went_back_total",
        "Times that a partition's log was made anew or cut under a consumer.",
    )
});
static DELETED_UNREAD: LazyLock<IntCounterVec> = LazyLock::new(|| {
    by_group(
        "messaging_records_deleted_unread_total",
        "Offsets that retention or an operator deleted before the group had read them.",
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
    sent_counter(topic).inc();
}

/// The count of one topic's messages, for a producer that looks it up once.
pub(crate) fn sent_counter(topic: &str) -> IntCounter {
    SENT.with_label_values(&[topic, millrace_telemetry::service()])
}

/// From a record's timestamp to the end of its handling.
pub(crate) fn latency(topic: &str) -> Histogram {
    LATENCY.with_label_values(&[topic])
}

pub(crate) fn lag(group: &str, topic: &str, partition: i32, records: i64) {
    LAG.with_label_values(&[group, topic, &partition.to_string()]).set(records);
}

/// Takes the lag of a partition that is no longer owned off the page.
pub(crate) fn forget_lag(group: &str, topic: &str, partition: i32) {
    // An error says that it was never measured.
    drop(LAG.remove_label_values(&[group, topic, &partition.to_string()]));
}

pub(crate) fn handled(group: &str, topic: &str) -> IntCounter {
    HANDLED.with_label_values(&[group, topic])
}

pub(crate) fn retried(group: &str, topic: &str) -> IntCounter {
    RETRIES.with_label_values(&[group, topic])
}

pub(crate) fn dead_lettered(group: &str, topic: &str, code: &str) {
    DEAD_LETTERS.with_label_values(&[group, topic, code]).inc();
}

pub(crate) fn skipped(group: &str, topic: &str) -> IntCounter {
    SKIPPED.with_label_values(&[group, topic])
}

pub(crate) fn tiered(group: &str, topic: &str, tier: &str) {
    TIERED.with_label_values(&[group, topic, tier]).inc();
}

pub(crate) fn letters_too_large(group: &str, topic: &str, letters: usize) {
    let letters = i64::try_from(letters).unwrap_or(i64::MAX);
    LETTERS_TOO_LARGE.with_label_values(&[group, topic]).set(letters);
}

pub(crate) fn stalled(group: &str, topic: &str) {
    STALLS.with_label_values(&[group, topic]).inc();
}

pub(crate) fn log_went_back(group: &str, topic: &str) {
    WENT_BACK.with_label_values(&[group, topic]).inc();
}

pub(crate) fn deleted_unread(group: &str, topic: &str, records: i64) {
    let records = u64::try_from(records).unwrap_or(0);
    DELETED_UNREAD.with_label_values(&[group, topic]).inc_by(records);
}

pub(crate) fn rebalanced(group: &str, topic: &str, kind: &str) {
    REBALANCES.with_label_values(&[group, topic, kind]).inc();
}

static REBUILDS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "messaging_producer_rebuilds_total",
        "Producers that ended fatally and were replaced.",
        &["client"],
    )
});

pub(crate) fn rebuilt(client: &str) {
    REBUILDS.with_label_values(&[client]).inc();
}
