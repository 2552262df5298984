//! Every metric of this service, declared once.

use millrace_common::telemetry::metrics::{self, Histogram, IntCounter, IntCounterVec};

use crate::domain::Decision;

/// Events per transaction: how well a hot SKU's lock is shared.
const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0];

/// The service's metrics. Cloning shares them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    decisions: IntCounterVec,
    batch_events: Histogram,
    adjusted_pieces: IntCounterVec,
    overdue: IntCounter,
    stock_differences: IntCounter,
}

impl Metrics {
    pub(crate) fn register() -> Self {
        Self {
            decisions: metrics::counter_vec(
                "inventory_reservations_total",
                "decisions on order events by outcome",
                &["outcome"],
            ),
            batch_events: metrics::histogram(
                "inventory_batch_events",
                "order events applied in one transaction",
                BATCH_BUCKETS,
            ),
            adjusted_pieces: metrics::counter_vec(
                "inventory_adjusted_pieces_total",
                "pieces that adjustments loaded or took off",
                &["direction"],
            ),
            overdue: metrics::counter(
                "inventory_reservations_overdue_total",
                "holds reported as older than they should be",
            ),
            stock_differences: metrics::counter(
                "inventory_stock_differences_total",
                "products whose pieces didn't add up when stock was reconciled",
            ),
        }
    }

    pub(crate) fn batch(&self, decisions: &[Decision]) {
        // Counts of events in one poll are far below 2^52.
        #[expect(
            clippy::cast_precision_loss,
            reason = "a batch is bounded by the consumer's settings"
        )]
        self.batch_events.observe(decisions.len() as f64);
        for decision in decisions {
            let outcome = match decision {
                Decision::Held { .. } => "held",
                Decision::Rejected { .. } => "rejected",
                Decision::Refused => "refused",
                Decision::Confirmed => "confirmed",
                Decision::Released { .. } => "released",
                Decision::CancelledFirst { .. } => "cancelled_first",
                Decision::Unchanged => "unchanged",
            };
            self.decisions.with_label_values(&[outcome]).inc();
        }
    }

    pub(crate) fn adjusted(&self, change: i64) {
        let direction = if change > 0 { "loaded" } else { "taken_off" };
        self.adjusted_pieces.with_label_values(&[direction]).inc_by(change.unsigned_abs());
    }

    pub(crate) fn stock_differences(&self, count: usize) {
        self.stock_differences.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub(crate) fn overdue(&self, count: usize) {
        self.overdue.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }
}
