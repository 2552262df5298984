//! `product-changes`: products and prices, owned by inventory; compacted, so the last state of each SKU stays.

use millrace_envelope::events;
use serde::{Deserialize, Serialize};

events! {
    /// What happens to products.
    pub enum ProductEvent on "product-changes", aggregate "product", key sku {
        "product.changed" v1 => Changed(ProductChanged),
    }
}

/// The whole product after a change; a reader keeps the highest `row_version` and ignores lower ones.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductChanged {
    /// The product.
    pub sku: String,
    /// Its name for people.
    pub name: String,
    /// The price of one piece in minor units.
    pub price_minor: i64,
    /// ISO 4217 code.
    pub currency: String,
    /// False when it is no longer sold.
    pub sellable: bool,
    /// Grows by one with each change of this product.
    pub row_version: i64,
}
