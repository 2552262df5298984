//! Stock beside what it must add up to.

use millrace_common::outbox::StoreError;
use millrace_common::telemetry::db_span;
use sqlx::{FromRow, PgPool};
use tracing::Instrument as _;

/// All products' pieces together.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub(crate) struct Totals {
    pub(crate) products: i64,
    pub(crate) loaded: i64,
    pub(crate) free: i64,
    pub(crate) held: i64,
    pub(crate) sold: i64,
}

/// A product whose numbers contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub(crate) struct Difference {
    pub(crate) sku: String,
    pub(crate) loaded: i64,
    pub(crate) free: i64,
    pub(crate) held: i64,
    pub(crate) sold: i64,
    /// What held reservations have of it.
    pub(crate) held_reserved: i64,
    /// What confirmed reservations have of it.
    pub(crate) sold_reserved: i64,
}

/// One look at all of it.
#[derive(Debug)]
pub(crate) struct Reconciliation {
    pub(crate) totals: Totals,
    pub(crate) differences: Vec<Difference>,
}

/// Reads totals and at most `rows_max` differences as they are at one moment. Takes no locks and may take minutes.
pub(crate) async fn read(pool: &PgPool, rows_max: u32) -> Result<Reconciliation, StoreError> {
    let mut transaction = pool.begin().await?;
    for statement in [
        // Both statements see the same moment, between any two transactions that move pieces.
        "set transaction isolation level repeatable read, read only",
        // Every line of every reservation is added up, once a day.
        "set local statement_timeout = '10min'",
    ] {
        sqlx::query(statement).execute(&mut *transaction).await?;
    }
    let totals = sqlx::query_as(
        "select count(*) as products, coalesce(sum(loaded), 0)::bigint as loaded, \
             coalesce(sum(free), 0)::bigint as free, coalesce(sum(held), 0)::bigint as held, \
             coalesce(sum(sold), 0)::bigint as sold from stock",
    )
    .fetch_one(&mut *transaction)
    .instrument(db_span("SELECT", "stock"))
    .await?;
    let differences = sqlx::query_as(
        "select sku, loaded, free, held, sold, \
             coalesce(held_reserved, 0)::bigint as held_reserved, \
             coalesce(sold_reserved, 0)::bigint as sold_reserved \
         from stock left join ( \
             select sku, sum(quantity) filter (where status = 'held') as held_reserved, \
                 sum(quantity) filter (where status = 'confirmed') as sold_reserved \
             from reservation_lines join reservations using (order_id) \
             where status in ('held', 'confirmed') group by sku \
         ) reserved using (sku) \
         where loaded <> free + held + sold or held <> coalesce(held_reserved, 0) \
             or sold <> coalesce(sold_reserved, 0) \
         order by sku limit $1",
    )
    .bind(i64::from(rows_max))
    .fetch_all(&mut *transaction)
    .instrument(db_span("SELECT", "stock"))
    .await?;
    transaction.rollback().await?;
    Ok(Reconciliation { totals, differences })
}
