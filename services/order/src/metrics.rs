//! Every metric of this service, declared once. Nothing else names one.

use std::sync::LazyLock;

use millrace_common::telemetry::metrics::{IntCounter, IntCounterVec, counter, counter_vec};

use crate::domain::{CancelReason, OrderStatus};

static STATUS_REACHED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "order_status_reached_total",
        "Orders that came into a status; placed is the intake.",
        &["status", "reason"],
    )
});
static REFUNDS_DUE: LazyLock<IntCounter> =
    LazyLock::new(|| counter("order_refunds_due_total", "Payments that must be sent back."));
static PAYMENTS_RECEIVED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec("order_payments_received_total", "Payment callbacks taken down.", &["result"])
});
static PAYMENTS_REFUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("order_payments_refused_total", "Payments refused for a wrong amount or currency.")
});
static IDEMPOTENT_REPLAYS: LazyLock<IntCounter> = LazyLock::new(|| {
    counter(
        "order_idempotent_replays_total",
        "Requests answered with the stored reply of an earlier one.",
    )
});
static RESERVATION_NOTES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec(
        "order_reservation_notes_total",
        "Inventory events that are only noted, by what happened to the reservation.",
        &["kind"],
    )
});

/// Orders that came into a status.
pub(crate) fn orders_reached(statuses: &[OrderStatus]) {
    for status in statuses {
        let reason = status.reason().map_or("", CancelReason::as_str);
        STATUS_REACHED.with_label_values(&[status.as_str(), reason]).inc();
    }
}

/// Money that came in and must go back.
pub(crate) fn refunds_due(count: u64) {
    REFUNDS_DUE.inc_by(count);
}

/// A callback that was taken down.
pub(crate) fn payment_received(result: &str) {
    PAYMENTS_RECEIVED.with_label_values(&[result]).inc();
}

/// Payments of a wrong amount or currency.
pub(crate) fn payments_refused(count: u64) {
    PAYMENTS_REFUSED.inc_by(count);
}

/// A repeat that got the first answer.
pub(crate) fn reply_replayed() {
    IDEMPOTENT_REPLAYS.inc();
}

/// An inventory event that changes no order.
pub(crate) fn reservation_noted(kind: &str) {
    RESERVATION_NOTES.with_label_values(&[kind]).inc();
}
