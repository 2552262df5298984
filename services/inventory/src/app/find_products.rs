//! Products and what is free of them, as they stand now.

use std::collections::BTreeSet;

use super::{App, Failure};
use crate::domain::Sku;
use crate::store::products::{ProductAvailability, products_find};

/// What is known of the products asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundProducts {
    /// In SKU order, each once.
    pub(crate) known: Vec<ProductAvailability>,
    /// In SKU order, each once.
    pub(crate) unknown: Vec<Sku>,
}

/// Looks all of them up with one statement.
pub(crate) async fn find_products(
    app: &App,
    mut skus: BTreeSet<Sku>,
) -> Result<FoundProducts, Failure> {
    let mut conn = app.pool.acquire().await?;
    let known = products_find(&mut conn, &skus).await?;
    for found in &known {
        skus.remove(&found.product.sku);
    }
    Ok(FoundProducts { known, unknown: skus.into_iter().collect() })
}
