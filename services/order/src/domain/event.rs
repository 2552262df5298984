//! What an order says when something happened to it. The wire's form is `wire.rs`'s business.

use chrono::{DateTime, Utc};

use super::{CancelReason, Line, Money, PaymentId};

/// A fact about one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OrderEvent {
    Placed { lines: Vec<Line> },
    AwaitingPayment { pay_until: DateTime<Utc> },
    Rejected { shortages: Vec<Shortage> },
    Confirmed { payment_id: PaymentId },
    Cancelled { reason: CancelReason },
    RefundDue { payment_id: PaymentId, money: Money, reason: RefundReason },
}

/// One line that inventory could not hold. The SKU is inventory's text: it is passed on, not judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) sku: String,
    pub(crate) requested: u32,
    pub(crate) free: i64,
    pub(crate) reason: ShortageReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShortageReason {
    OutOfStock,
    UnknownSku,
}

/// Why money must go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefundReason {
    OrderCancelled,
    OrderRejected,
    AlreadyPaid,
}
