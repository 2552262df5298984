//! The pieces of one product, and the moves between free, held and sold.
//!
//! Holding, selling and releasing move pieces; only an adjustment makes or removes some.

use super::{AdjustStockRefusal, Quantity, Sku, StockChange};

/// More pieces of one product than anybody has; keeps every sum far from overflow.
const LOADED_MAX: i64 = 1_000_000_000_000;

/// One product's pieces. None of the three is ever negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stock {
    pub(crate) free: i64,
    pub(crate) held: i64,
    pub(crate) sold: i64,
    /// Grows by one with each write of the row.
    pub(crate) row_version: i64,
}

impl Stock {
    /// Of a product nothing was ever loaded of.
    #[cfg(test)]
    pub(crate) const EMPTY: Self = Self { free: 0, held: 0, sold: 0, row_version: 1 };

    /// Everything that was ever loaded and not taken off.
    pub(crate) fn loaded(&self) -> i64 {
        self.free + self.held + self.sold
    }

    /// Free pieces become held ones; `None` when fewer are free.
    pub(crate) fn hold(self, quantity: Quantity) -> Option<Self> {
        let free = take(self.free, quantity)?;
        Some(Self { free, held: self.held + quantity.pieces(), ..self })
    }

    /// Held pieces become free again; `None` when fewer are held.
    pub(crate) fn release(self, quantity: Quantity) -> Option<Self> {
        let held = take(self.held, quantity)?;
        Some(Self { held, free: self.free + quantity.pieces(), ..self })
    }

    /// Held pieces become sold ones; `None` when fewer are held.
    pub(crate) fn sell(self, quantity: Quantity) -> Option<Self> {
        let held = take(self.held, quantity)?;
        Some(Self { held, sold: self.sold + quantity.pieces(), ..self })
    }

    /// Pieces come in or go out. Only free ones can go out: the others belong to somebody.
    pub(crate) fn adjust(self, sku: &Sku, change: StockChange) -> Result<Self, AdjustStockRefusal> {
        let free = self.free + change.pieces();
        let adjusted = Self { free, row_version: self.row_version + 1, ..self };
        if free < 0 {
            Err(AdjustStockRefusal::NotEnoughFree { sku: sku.clone(), free: self.free })
        } else if adjusted.loaded() > LOADED_MAX {
            Err(AdjustStockRefusal::LimitExceeded { sku: sku.clone(), loaded_max: LOADED_MAX })
        } else {
            Ok(adjusted)
        }
    }

    /// The same pieces as the row's next version.
    pub(crate) fn next_version(self) -> Self {
        Self { row_version: self.row_version + 1, ..self }
    }
}

fn take(from: i64, quantity: Quantity) -> Option<i64> {
    let left = from - quantity.pieces();
    (left >= 0).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stock(free: i64, held: i64, sold: i64) -> Stock {
        Stock { free, held, sold, row_version: 7 }
    }

    #[test]
    fn pieces_move_between_the_three_heaps_and_never_below_zero() {
        type Move = fn(Stock, Quantity) -> Option<Stock>;
        let table: [(&str, Move, Stock, u32, Option<Stock>); 6] = [
            ("hold", Stock::hold, stock(5, 0, 0), 5, Some(stock(0, 5, 0))),
            ("hold", Stock::hold, stock(4, 9, 9), 5, None),
            ("release", Stock::release, stock(1, 5, 2), 3, Some(stock(4, 2, 2))),
            ("release", Stock::release, stock(9, 2, 9), 3, None),
            ("sell", Stock::sell, stock(1, 5, 2), 5, Some(stock(1, 0, 7))),
            ("sell", Stock::sell, stock(9, 4, 9), 5, None),
        ];
        for (name, act, before, pieces, after) in table {
            assert_eq!(
                act(before, Quantity::try_new(pieces).unwrap()),
                after,
                "{name} {pieces} of {before:?}"
            );
        }
    }

    #[test]
    fn an_adjustment_takes_only_free_pieces_and_is_bounded() {
        let sku = Sku::parse("a").unwrap();
        let adjust =
            |before: Stock, change| before.adjust(&sku, StockChange::try_new(change).unwrap());
        let next = |stock: Stock| stock.next_version();
        assert_eq!(adjust(stock(5, 3, 2), 10), Ok(next(stock(15, 3, 2))));
        assert_eq!(adjust(stock(5, 3, 2), -5), Ok(next(stock(0, 3, 2))));
        assert_eq!(
            adjust(stock(5, 3, 2), -6),
            Err(AdjustStockRefusal::NotEnoughFree { sku: sku.clone(), free: 5 })
        );
        assert!(matches!(
            adjust(stock(LOADED_MAX - 5, 3, 2), 1),
            Err(AdjustStockRefusal::LimitExceeded { .. })
        ));
    }
}
