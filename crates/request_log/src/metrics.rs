//! Every metric of this crate, declared once.

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

    pub(crate) fn drop_one(&self, reason: DropReason) {
        self.drop_many(reason, 1);
    }

    pub(crate) fn drop_many(&self, reason: DropReason, count: usize) {
        self.dropped.with_label_values(&[reason.as_str()]).inc_by(count as u64);
    }
}
