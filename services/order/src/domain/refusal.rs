//! The ways in which the business says no. Each becomes a 4xx or an audit record, never an ERROR line.

use super::{Money, OrderStatus, Sku};

/// Why an order was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlaceOrderRefusal {
    /// The line at `index` names a product that isn't known or isn't sold.
    #[error("product `{sku}` is not sold")]
    UnknownSku { index: usize, sku: Sku },
    /// The line at `index` is priced in another currency than the first.
    #[error("product `{sku}` is priced in another currency than the first line")]
    MixedCurrencies { index: usize, sku: Sku },
    #[error("order's total is beyond what can be charged")]
    TotalTooLarge,
}

/// Why an order was not cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an order that is `{}` can't be cancelled", status.as_str())]
pub(crate) struct CancelRefusal {
    pub(crate) status: OrderStatus,
}

/// Why a payment's success was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("payment of {paid} for an order of {due}")]
pub(crate) struct PaymentRefusal {
    pub(crate) paid: Money,
    pub(crate) due: Money,
}

/// An event contradicts what this service knows of the order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotApplicable {
    #[error("reservation was {outcome} but the order is `{}`", status.as_str())]
    Reservation { outcome: &'static str, status: OrderStatus },
}
