//! The copy of products and prices.

use std::collections::HashMap;

use millrace_common::telemetry::db_span;
use sqlx::{FromRow, PgConnection, PgPool};
use tracing::Instrument as _;

use super::unknown;
use crate::domain::{Currency, Product, Sku};

#[derive(FromRow)]
struct ProductRow {
    sku: String,
    name: String,
    price_minor: i64,
    currency: String,
    sellable: bool,
    row_version: i64,
}

impl ProductRow {
    fn product(self) -> Result<Product, sqlx::Error> {
        Ok(Product {
            sku: Sku::parse(&self.sku).ok_or_else(|| unknown("sku", &self.sku))?,
            name: self.name,
            price_minor: self.price_minor,
            currency: Currency::parse(&self.currency)
                .ok_or_else(|| unknown("currency", &self.currency))?,
            sellable: self.sellable,
            row_version: self.row_version,
        })
    }
}

/// Those of the SKUs that are known, in one statement.
pub(crate) async fn products_find(
    pool: &PgPool,
    skus: &[&str],
) -> Result<HashMap<Sku, Product>, sqlx::Error> {
    let rows: Vec<ProductRow> = sqlx::query_as(
        "select sku, name, price_minor, currency, sellable, row_version
         from products where sku = any($1)",
    )
    .bind(skus)
    .fetch_all(pool)
    .instrument(db_span("SELECT", "products"))
    .await?;
    rows.into_iter()
        .map(|row| row.product().map(|product| (product.sku.clone(), product)))
        .collect()
}

/// Takes over every product whose version is higher than the stored one; returns how many were.
/// Each SKU must come once: one statement can't change a row twice.
pub(crate) async fn products_upsert(
    conn: &mut PgConnection,
    products: &[Product],
) -> Result<u64, sqlx::Error> {
    let text = |of: fn(&Product) -> &str| products.iter().map(of).collect::<Vec<_>>();
    let number = |of: fn(&Product) -> i64| products.iter().map(of).collect::<Vec<_>>();
    // In the order of SKUs, so that two instances' batches wait for each other instead of deadlocking.
    let done = sqlx::query(
        "insert into products (sku, name, price_minor, currency, sellable, row_version)
         select * from unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::bool[], $6::bigint[])
             as p(sku, name, price_minor, currency, sellable, row_version)
         order by sku
         on conflict (sku) do update set
             name = excluded.name, price_minor = excluded.price_minor, currency = excluded.currency,
             sellable = excluded.sellable, row_version = excluded.row_version
         where products.row_version < excluded.row_version",
    )
    .bind(text(|product| product.sku.as_str()))
    .bind(text(|product| &product.name))
    .bind(number(|product| product.price_minor))
    .bind(text(|product| product.currency.as_str()))
    .bind(products.iter().map(|product| product.sellable).collect::<Vec<_>>())
    .bind(number(|product| product.row_version))
    .execute(conn)
    .instrument(db_span("INSERT", "products"))
    .await?;
    Ok(done.rows_affected())
}
