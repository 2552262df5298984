//! Every metric of this crate, declared once.

use millrace_messaging::QueueCounts;
use millrace_telemetry::metrics::{
    IntCounter, IntCounterVec, IntGauge, counter, counter_vec, gauge,
};

/// Why a record was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DropReason {
    /// The queue holds as many records or bytes as it may.
    QueueFull,
    /// The record's message is larger than it may be.
    TooLarge,
    /// The broker didn't take it.
    PublishFailed,
    /// The service stopped before it was shipped.
    Shutdown,
}

impl DropReason {
    const ALL: [Self; 4] = [Self::QueueFull, Self::TooLarge, Self::PublishFailed, Self::Shutdown];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::TooLarge => "too_large",
            Self::PublishFailed => "publish_failed",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The accounts: received = shipped + dropped + queued.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    pub(crate) received: IntCounter,
    pub(crate) shipped: IntCounter,
    pub(crate) queued: IntGauge,
    dropped: IntCounterVec,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let dropped = counter_vec(
            "request_log_dropped_total",
            "request records that were dropped, by reason",
            &["reason"],
        );
        // A reason that never happened is shown as 0: an alert on a rate needs the series to exist.
        for reason in DropReason::ALL {
            dropped.with_label_values(&[reason.as_str()]).inc_by(0);
        }
        Self {
            received: counter(
                "request_log_received_total",
                "request records handed over by the HTTP edge",
            ),
            shipped: counter(
                "request_log_shipped_total",
                "request records acknowledged by the broker",
            ),
            queued: gauge("request_log_queued", "request records that wait or are being shipped"),
            dropped,
        }
    }

    /// Counts a record that the queue did not accept.
    pub(crate) fn refused(&self, reason: DropReason) {
        self.drop_many(reason, 1);
        self.received.inc();
    }

    /// Counts what happened in the queue between two of its readings.
    pub(crate) fn update(&self, before: &QueueCounts, now: &QueueCounts) {
        self.shipped.inc_by(now.delivered - before.delivered);
        self.drop_many(DropReason::QueueFull, now.dropped - before.dropped);
        self.drop_many(DropReason::PublishFailed, now.undelivered - before.undelivered);
        self.drop_many(DropReason::Shutdown, now.left - before.left);
        let queued = |counts: &QueueCounts| signed(counts.waiting + counts.in_flight);
        // Added and not set, because the gauge is the process's and there may be other queues.
        self.queued.add(queued(now) - queued(before));
        // Last, so that who sees a record received also sees where it is.
        self.received.inc_by(now.accepted - before.accepted);
    }

    /// Counts records as lost that are still on their way when nobody will count their fate.
    pub(crate) fn give_up(&self, in_flight: u64) {
        self.drop_many(DropReason::Shutdown, in_flight);
        self.queued.sub(signed(in_flight));
    }

    fn drop_many(&self, reason: DropReason, count: u64) {
        self.dropped.with_label_values(&[reason.as_str()]).inc_by(count);
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
