//! What became of one order's wish for stock.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{CancelReason, Lines, Quantity, Sku};

/// The reservation of one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) order_id: Uuid,
    pub(crate) status: ReservationStatus,
    /// What it holds, held or sold; empty where it never held anything.
    pub(crate) lines: Lines,
    /// Since when it holds, or held.
    pub(crate) held_at: Option<DateTime<Utc>>,
    /// Why it ended without a sale.
    pub(crate) reason: Option<EndReason>,
}

/// Where a reservation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReservationStatus {
    /// Pieces wait for the payment.
    Held,
    /// The pieces are sold.
    Confirmed,
    /// The pieces are free again.
    Released,
    /// Not every line could be held, so none was.
    Rejected,
    /// It was asked for after its order's cancellation.
    Refused,
    /// Its order was cancelled before it was asked for.
    Cancelled,
}

impl ReservationStatus {
    const ALL: [Self; 6] = [
        Self::Held,
        Self::Confirmed,
        Self::Released,
        Self::Rejected,
        Self::Refused,
        Self::Cancelled,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Confirmed => "confirmed",
            Self::Released => "released",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// Why a reservation ended without a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndReason {
    Cancelled(CancelReason),
    Short(ShortageReason),
}

impl EndReason {
    const ALL: [Self; 5] = [
        Self::Cancelled(CancelReason::Customer),
        Self::Cancelled(CancelReason::PaymentFailed),
        Self::Cancelled(CancelReason::Expired),
        Self::Short(ShortageReason::OutOfStock),
        Self::Short(ShortageReason::UnknownSku),
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled(reason) => reason.as_str(),
            Self::Short(reason) => reason.as_str(),
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }
}

/// A line that could not be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) sku: Sku,
    pub(crate) requested: Quantity,
    pub(crate) free: i64,
    pub(crate) reason: ShortageReason,
}

/// Why a line could not be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShortageReason {
    OutOfStock,
    UnknownSku,
}

impl ShortageReason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::OutOfStock => "out_of_stock",
            Self::UnknownSku => "unknown_sku",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_words_are_read_back() {
        for status in ReservationStatus::ALL {
            assert_eq!(ReservationStatus::parse(status.as_str()), Some(status));
        }
        for reason in EndReason::ALL {
            assert_eq!(EndReason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(ReservationStatus::parse("sold"), None);
        assert_eq!(EndReason::parse(""), None);
    }
}
