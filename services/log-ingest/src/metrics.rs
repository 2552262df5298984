//! Every metric of this service. The first four are the accounts: received = stored + duplicates + dropped.

use millrace_common::telemetry::metrics::{
    IntCounter, IntCounterVec, IntGauge, counter, counter_vec, gauge,
};

use crate::pipeline::batch::Sorted;

/// The metrics; cloning shares them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    received: IntCounter,
    stored: IntCounter,
    duplicates: IntCounter,
    dropped: IntCounterVec,
    partitions_made: IntCounter,
    partitions_dropped: IntCounter,
    upkeep_failures: IntCounter,
    upkeep_last_success: IntGauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            received: counter(
                "log_ingest_records_received_total",
                "Log lines whose fate is decided: stored, duplicate or dropped.",
            ),
            stored: counter("log_ingest_records_stored_total", "Log lines stored."),
            duplicates: counter(
                "log_ingest_records_duplicate_total",
                "Log lines that came again and were stored already.",
            ),
            dropped: counter_vec(
                "log_ingest_records_dropped_total",
                "Log lines not stored: out_of_window (their day is not kept), malformed (a field no column can hold).",
                &["reason"],
            ),
            partitions_made: counter("log_ingest_partitions_made_total", "Day partitions made."),
            partitions_dropped: counter(
                "log_ingest_partitions_dropped_total",
                "Day partitions dropped after their retention.",
            ),
            upkeep_failures: counter(
                "log_ingest_upkeep_failures_total",
                "Upkeep runs that failed; the next one repeats them.",
            ),
            upkeep_last_success: gauge(
                "log_ingest_upkeep_last_success_seconds",
                "When upkeep last succeeded, seconds since 1970-01-01 UTC.",
            ),
        };
        // Both reasons are scraped from the start: a rate over a series that only then appears misses its first step.
        for reason in ["out_of_window", "malformed"] {
            metrics.dropped.with_label_values(&[reason]).inc_by(0);
        }
        metrics
    }

    /// Accounts for a batch that is done; one that is repeated later is not counted before.
    pub(crate) fn batch_done(&self, received: usize, sorted: &Sorted, stored: u64) {
        self.received.inc_by(received as u64);
        self.stored.inc_by(stored);
        self.duplicates.inc_by((sorted.lines.len() as u64).saturating_sub(stored));
        self.dropped.with_label_values(&["out_of_window"]).inc_by(sorted.out_of_window);
        self.dropped.with_label_values(&["malformed"]).inc_by(sorted.malformed);
    }

    pub(crate) fn partitions_made(&self, count: i32) {
        self.partitions_made.inc_by(u64::try_from(count).unwrap_or(0));
    }

    pub(crate) fn upkeep_succeeded(&self, dropped: i32, now_ms: i64) {
        self.partitions_dropped.inc_by(u64::try_from(dropped).unwrap_or(0));
        self.upkeep_last_success.set(now_ms / 1000);
    }

    pub(crate) fn upkeep_failed(&self) {
        self.upkeep_failures.inc();
    }
}
