//! The states of an order and their names.
//!
//! `placed` -> `awaiting_payment` | `rejected` | `cancelled`; `awaiting_payment` -> `confirmed` | `cancelled`.
//! The last three are final.

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum OrderStatus {
    /// Accepted; inventory has not answered yet.
    Placed,
    /// Every line is held; the customer has to pay.
    AwaitingPayment,
    /// Paid.
    Confirmed,
    /// Inventory could not hold every line.
    Rejected,
    /// Off, for the reason given.
    Cancelled(CancelReason),
}

/// Why an order was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum CancelReason {
    Customer,
    PaymentFailed,
    Expired,
}

impl OrderStatus {
    /// The name without the reason.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::AwaitingPayment => "awaiting_payment",
            Self::Confirmed => "confirmed",
            Self::Rejected => "rejected",
            Self::Cancelled(_) => "cancelled",
        }
    }

    pub(crate) const fn reason(self) -> Option<CancelReason> {
        match self {
            Self::Cancelled(reason) => Some(reason),
            Self::Placed | Self::AwaitingPayment | Self::Confirmed | Self::Rejected => None,
        }
    }

    /// The status of these names; `None` when they are none.
    pub(crate) fn parse(status: &str, reason: Option<&str>) -> Option<Self> {
        match (status, reason) {
            ("placed", None) => Some(Self::Placed),
            ("awaiting_payment", None) => Some(Self::AwaitingPayment),
            ("confirmed", None) => Some(Self::Confirmed),
            ("rejected", None) => Some(Self::Rejected),
            ("cancelled", Some(reason)) => CancelReason::parse(reason).map(Self::Cancelled),
            (_, _) => None,
        }
    }
}

impl CancelReason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::PaymentFailed => "payment_failed",
            Self::Expired => "expired",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Customer, Self::PaymentFailed, Self::Expired]
            .into_iter()
            .find(|reason| reason.as_str() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_survives_its_names() {
        for status in [
            OrderStatus::Placed,
            OrderStatus::AwaitingPayment,
            OrderStatus::Confirmed,
            OrderStatus::Rejected,
            OrderStatus::Cancelled(CancelReason::Customer),
            OrderStatus::Cancelled(CancelReason::PaymentFailed),
            OrderStatus::Cancelled(CancelReason::Expired),
        ] {
            let reason = status.reason().map(CancelReason::as_str);
            assert_eq!(OrderStatus::parse(status.as_str(), reason), Some(status));
        }
        assert_eq!(OrderStatus::parse("cancelled", None), None);
        assert_eq!(OrderStatus::parse("placed", Some("customer")), None);
    }
}
