//! Pieces: how many an order wants, and by how many an adjustment changes the stock.

use super::BadValue;

/// Pieces of one line: at least one, at most a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quantity(u32);

impl Quantity {
    pub(crate) const MAX: u32 = 1_000_000;

    pub(crate) fn try_new(pieces: u32) -> Result<Self, BadValue> {
        if (1..=Self::MAX).contains(&pieces) {
            Ok(Self(pieces))
        } else {
            Err(BadValue("must be 1 to 1000000"))
        }
    }

    pub(crate) fn get(self) -> u32 {
        self.0
    }

    pub(crate) fn pieces(self) -> i64 {
        i64::from(self.0)
    }
}

/// Pieces that come in or go out by an adjustment: never zero, at most a thousand million at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StockChange(i64);

impl StockChange {
    pub(crate) const MAX: i64 = 1_000_000_000;

    pub(crate) fn try_new(pieces: i64) -> Result<Self, BadValue> {
        if pieces != 0 && (-Self::MAX..=Self::MAX).contains(&pieces) {
            Ok(Self(pieces))
        } else {
            Err(BadValue("must be -1000000000 to 1000000000 and not 0"))
        }
    }

    pub(crate) fn pieces(self) -> i64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_at_least_one_and_bounded() {
        for (pieces, good) in
            [(0, false), (1, true), (1_000_000, true), (1_000_001, false), (u32::MAX, false)]
        {
            assert_eq!(Quantity::try_new(pieces).is_ok(), good, "{pieces}");
        }
    }

    #[test]
    fn a_change_is_not_zero_and_bounded_both_ways() {
        let max = StockChange::MAX;
        for (pieces, good) in [
            (0, false),
            (1, true),
            (-1, true),
            (max, true),
            (-max, true),
            (max + 1, false),
            (-max - 1, false),
            (i64::MIN, false),
            (i64::MAX, false),
        ] {
            assert_eq!(StockChange::try_new(pieces).is_ok(), good, "{pieces}");
        }
    }
}
