//! Keeps the copy of products and prices in step with inventory.
//!
//! No inbox here: the highest version of each product wins, so a repeat or a late record changes nothing.

use std::collections::BTreeMap;

use super::{App, Failure};
use crate::domain::{Product, Sku};
use crate::store::products;

pub(crate) async fn keep_products(app: &App, changed: Vec<Product>) -> Result<(), Failure> {
    let mut newest: BTreeMap<Sku, Product> = BTreeMap::new();
    for product in changed {
        match newest.get(&product.sku) {
            Some(known) if known.row_version >= product.row_version => {}
            Some(_) | None => {
                newest.insert(product.sku.clone(), product);
            }
        }
    }
    let newest: Vec<Product> = newest.into_values().collect();
    let mut connection = app.pool().acquire().await?;
    let written = products::products_upsert(&mut connection, &newest).await?;
    tracing::debug!(products = written, "product copies were brought up to date");
    Ok(())
}
