//! What the order service asks of the stock.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{BadValue, Quantity, Sku};

/// One order's wish, read from an order event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// Hold every line, or none.
    Reserve { order_id: Uuid, lines: Lines },
    /// Turn the hold into a sale.
    Confirm { order_id: Uuid },
    /// Let go of the hold, or of the one that is still to come.
    Release { order_id: Uuid, reason: CancelReason },
}

impl Command {
    pub(crate) fn order_id(&self) -> Uuid {
        match self {
            Self::Reserve { order_id, .. }
            | Self::Confirm { order_id }
            | Self::Release { order_id, .. } => *order_id,
        }
    }
}

/// Why an order was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CancelReason {
    Customer,
    PaymentFailed,
    Expired,
}

impl CancelReason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::PaymentFailed => "payment_failed",
            Self::Expired => "expired",
        }
    }
}

/// The lines of one order in SKU order, each SKU once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lines(BTreeMap<Sku, Quantity>);

impl Lines {
    pub(crate) const MAX: usize = 50;

    /// 1 to 50 lines, each SKU once.
    pub(crate) fn try_new(
        lines: impl IntoIterator<Item = (Sku, Quantity)>,
    ) -> Result<Self, BadValue> {
        let mut known = BTreeMap::new();
        for (sku, quantity) in lines {
            if known.insert(sku, quantity).is_some() {
                return Err(BadValue("must name each SKU once"));
            }
        }
        if (1..=Self::MAX).contains(&known.len()) {
            Ok(Self(known))
        } else {
            Err(BadValue("must be 1 to 50"))
        }
    }

    /// Lines that were checked when they were written; none for a reservation that never held anything.
    pub(crate) fn from_stored(lines: impl IntoIterator<Item = (Sku, Quantity)>) -> Self {
        Self(lines.into_iter().collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Sku, Quantity)> {
        self.0.iter().map(|(sku, quantity)| (sku, *quantity))
    }

    pub(crate) fn skus(&self) -> impl Iterator<Item = &Sku> {
        self.0.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(sku: &str) -> (Sku, Quantity) {
        (Sku::parse(sku).unwrap(), Quantity::try_new(1).unwrap())
    }

    #[test]
    fn an_order_has_1_to_50_lines_and_each_sku_once() {
        let of = |count: usize| Lines::try_new((0..count).map(|index| line(&format!("s{index}"))));
        assert!(of(0).is_err());
        assert!(of(1).is_ok());
        assert!(of(50).is_ok());
        assert!(of(51).is_err());
        assert!(Lines::try_new([line("a"), line("a")]).is_err());
    }
}
