//! `stock-changes` (every change) and `stock-levels` (the last state of each SKU, compacted). Keyed by SKU; the
//! stock row's version is inside both, so a copy can tell old from new.

use millrace_envelope::events;
use serde::{Deserialize, Serialize};

events! {
    /// How stock moves.
    pub enum StockChangeEvent on "stock-changes", aggregate "stock", key sku {
        "stock.changed" v1 => Changed(StockChanged),
    }
}

events! {
    /// Where stock stands.
    pub enum StockLevelEvent on "stock-levels", aggregate "stock", key sku {
        "stock.level" v1 => Level(StockLevel),
    }
}

/// How one commit moved a product's stock; the three differences add up to the pieces loaded or taken off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockChanged {
    /// The product.
    pub sku: String,
    /// The difference of the free pieces.
    pub free_change: i64,
    /// The difference of the held pieces.
    pub held_change: i64,
    /// The difference of the sold pieces.
    pub sold_change: i64,
    /// Grows by one with each change of this product's stock.
    pub row_version: i64,
}

/// A product's stock after a change: loaded = free + held + sold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockLevel {
    /// The product.
    pub sku: String,
    /// Pieces that can be ordered.
    pub free: i64,
    /// Pieces held for orders that are not paid yet.
    pub held: i64,
    /// Pieces sold.
    pub sold: i64,
    /// Grows by one with each change of this product's stock.
    pub row_version: i64,
}
