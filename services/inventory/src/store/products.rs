//! The table `products`, and what a reader wants to see beside it.

use chrono::{DateTime, Utc};
use millrace_common::outbox::StoreError;
use millrace_common::telemetry::db_span;
use sqlx::PgConnection;
use tracing::Instrument as _;

use super::unreadable;
use crate::domain::{Currency, Price, Product, ProductName, ProductTerms, Sku};

/// A product beside its free pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProductAvailability {
    pub(crate) product: Product,
    pub(crate) free: i64,
}

#[derive(sqlx::FromRow)]
struct ProductRow {
    sku: String,
    name: String,
    price_minor: i64,
    currency: String,
    sellable: bool,
    row_version: i64,
    free: i64,
}

impl ProductRow {
    fn into_availability(self) -> Result<ProductAvailability, StoreError> {
        let sku = Sku::parse(&self.sku).map_err(|_| unreadable("products.sku", &self.sku))?;
        let terms = ProductTerms {
            name: ProductName::from_stored(self.name),
            price: Price::from_stored(self.price_minor),
            currency: Currency::from_stored(self.currency),
            sellable: self.sellable,
        };
        let product = Product { sku, terms, row_version: self.row_version };
        Ok(ProductAvailability { product, free: self.free })
    }
}

/// The products with these SKUs in SKU order, with one statement; unknown ones are left out.
pub(crate) async fn products_find(
    conn: &mut PgConnection,
    skus: impl IntoIterator<Item = &Sku>,
) -> Result<Vec<ProductAvailability>, StoreError> {
    let skus: Vec<&str> = skus.into_iter().map(Sku::as_str).collect();
    let rows: Vec<ProductRow> = sqlx::query_as(
        "select p.sku, p.name, p.price_minor, p.currency, p.sellable, p.row_version, s.free \
         from products p join stock s on s.sku = p.sku where p.sku = any($1) order by p.sku",
    )
    .bind(skus)
    .fetch_all(conn)
    .instrument(db_span("SELECT", "products"))
    .await?;
    rows.into_iter().map(ProductRow::into_availability).collect()
}

/// Locks and reads one product beside its free pieces. The stock row is only read: orders go on.
pub(crate) async fn product_lock(
    conn: &mut PgConnection,
    sku: &Sku,
) -> Result<Option<ProductAvailability>, StoreError> {
    let row: Option<ProductRow> = sqlx::query_as(
        "select p.sku, p.name, p.price_minor, p.currency, p.sellable, p.row_version, s.free \
         from products p join stock s on s.sku = p.sku where p.sku = $1 for no key update of p",
    )
    .bind(sku.as_str())
    .fetch_optional(conn)
    .instrument(db_span("SELECT", "products"))
    .await?;
    row.map(ProductRow::into_availability).transpose()
}

/// Makes a product and its empty stock; `false` when somebody else made it meanwhile.
pub(crate) async fn product_insert(
    conn: &mut PgConnection,
    product: &Product,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "with made as ( \
             insert into products (sku, name, price_minor, currency, sellable, row_version, changed_at) \
             values ($1, $2, $3, $4, $5, $6, $7) \
             on conflict on constraint products_pk do nothing returning sku) \
         insert into stock (sku, loaded, free, held, sold, row_version) select sku, 0, 0, 0, 0, 1 from made",
    )
    .bind(product.sku.as_str())
    .bind(product.terms.name.as_str())
    .bind(product.terms.price.minor())
    .bind(product.terms.currency.as_str())
    .bind(product.terms.sellable)
    .bind(product.row_version)
    .bind(now)
    .execute(conn)
    .instrument(db_span("INSERT", "products"))
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes a product that this transaction has locked.
pub(crate) async fn product_update(
    conn: &mut PgConnection,
    product: &Product,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "update products set name = $2, price_minor = $3, currency = $4, sellable = $5, \
             row_version = $6, changed_at = $7 where sku = $1",
    )
    .bind(product.sku.as_str())
    .bind(product.terms.name.as_str())
    .bind(product.terms.price.minor())
    .bind(product.terms.currency.as_str())
    .bind(product.terms.sellable)
    .bind(product.row_version)
    .bind(now)
    .execute(conn)
    .instrument(db_span("UPDATE", "products"))
    .await?;
    Ok(())
}
