//! Everything the rules can say «no» with.

use uuid::Uuid;

use super::{ReservationStatus, Sku};

/// A value outside its bounds; the text completes «the field ...».
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadValue(pub(crate) &'static str);

/// Why stock is not adjusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AdjustStockRefusal {
    #[error("only {free} pieces of `{sku}` are free")]
    NotEnoughFree { sku: Sku, free: i64 },
    #[error("the stock of `{sku}` can't grow beyond {loaded_max} pieces")]
    LimitExceeded { sku: Sku, loaded_max: i64 },
}

/// Why a product is not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PutProductRefusal {
    /// `actual` is 0 where there is no such product.
    #[error("product `{sku}` has version {actual}, not {expected}")]
    VersionConflict { sku: Sku, expected: i64, actual: i64 },
}

/// Why an order's event can't be applied, now or at any later time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotApplicable {
    #[error("order {order_id} has no reservation to {verb}")]
    NoReservation { order_id: Uuid, verb: &'static str },
    #[error("the reservation of order {order_id} is {}, which can't be {verb}", .status.as_str())]
    WrongStatus { order_id: Uuid, status: ReservationStatus, verb: &'static str },
    #[error("{field} of order {order_id} {problem}")]
    BadField { order_id: Uuid, field: String, problem: BadValue },
    #[error("the stock of `{sku}` has fewer held pieces than order {order_id} holds of it")]
    HeldTooFew { order_id: Uuid, sku: Sku },
}
