//! A product as the order service knows it: inventory's, copied.

use super::{Currency, Sku};

/// What a line needs to know to be priced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) sku: Sku,
    pub(crate) name: String,
    pub(crate) price_minor: i64,
    pub(crate) currency: Currency,
    pub(crate) sellable: bool,
    /// Inventory's version of the product: the highest wins.
    pub(crate) row_version: i64,
}
