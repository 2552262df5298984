//! The table `stock`.

use millrace_common::outbox::StoreError;
use millrace_common::telemetry::db_span;
use sqlx::PgConnection;
use tracing::Instrument as _;

use super::unreadable;
use crate::domain::{Sku, Stock};

#[derive(sqlx::FromRow)]
struct StockRow {
    sku: String,
    free: i64,
    held: i64,
    sold: i64,
    row_version: i64,
}

impl StockRow {
    fn into_stock(self) -> Result<(Sku, Stock), StoreError> {
        let Self { sku, free, held, sold, row_version } = self;
        let sku = Sku::parse(&sku).map_err(|_| unreadable("stock.sku", &sku))?;
        Ok((sku, Stock { free, held, sold, row_version }))
    }
}

/// Locks and reads the rows of these products in SKU order, with one statement; unknown ones are left out.
///
/// `no key update`: a line that refers to the row, written by another batch, needn't wait.
pub(crate) async fn stock_lock(
    conn: &mut PgConnection,
    skus: impl IntoIterator<Item = &Sku>,
) -> Result<Vec<(Sku, Stock)>, StoreError> {
    let skus: Vec<&str> = skus.into_iter().map(Sku::as_str).collect();
    if skus.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<StockRow> = sqlx::query_as(
        "select sku, free, held, sold, row_version from stock \
         where sku = any($1) order by sku for no key update",
    )
    .bind(skus)
    .fetch_all(conn)
    .instrument(db_span("SELECT", "stock"))
    .await?;
    rows.into_iter().map(StockRow::into_stock).collect()
}

/// Writes rows that this transaction has locked: one statement and one version per product, however many orders
/// moved its pieces. `loaded` is left alone, so the table refuses a batch that makes or loses a piece.
pub(crate) async fn stock_move(
    conn: &mut PgConnection,
    rows: &[(&Sku, Stock)],
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let column =
        |of: fn(&Stock) -> i64| -> Vec<i64> { rows.iter().map(|(_, row)| of(row)).collect() };
    let skus: Vec<&str> = rows.iter().map(|(sku, _)| sku.as_str()).collect();
    sqlx::query(
        "update stock set free = m.free, held = m.held, sold = m.sold, row_version = m.row_version \
         from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) \
              as m (sku, free, held, sold, row_version) \
         where stock.sku = m.sku",
    )
    .bind(skus)
    .bind(column(|row| row.free))
    .bind(column(|row| row.held))
    .bind(column(|row| row.sold))
    .bind(column(|row| row.row_version))
    .execute(conn)
    .instrument(db_span("UPDATE", "stock"))
    .await?;
    Ok(())
}

/// Writes an adjusted row that this transaction has locked; the only place that changes what is loaded.
pub(crate) async fn stock_adjust(
    conn: &mut PgConnection,
    sku: &Sku,
    row: &Stock,
) -> Result<(), StoreError> {
    sqlx::query("update stock set free = $2, loaded = $3, row_version = $4 where sku = $1")
        .bind(sku.as_str())
        .bind(row.free)
        .bind(row.loaded())
        .bind(row.row_version)
        .execute(conn)
        .instrument(db_span("UPDATE", "stock"))
        .await?;
    Ok(())
}
