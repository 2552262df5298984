//! The partitions of the table, made and dropped by functions of the owner role; the service's own role can't.

use chrono::NaiveDate;
use millrace_common::telemetry::db_span;
use sqlx::PgPool;
use tracing::Instrument as _;

/// Makes the partitions of those days that have none; returns how many were made.
pub(crate) async fn partitions_ensure(
    pool: &PgPool,
    days: impl IntoIterator<Item = NaiveDate>,
) -> Result<i32, sqlx::Error> {
    let days: Vec<NaiveDate> = days.into_iter().collect();
    sqlx::query_scalar("select request_logs_ensure_days($1)")
        .bind(days)
        .fetch_one(pool)
        .instrument(db_span("SELECT", "request_logs_ensure_days"))
        .await
}

/// Drops the partitions of days before `oldest`; returns how many were dropped.
pub(crate) async fn partitions_drop_before(
    pool: &PgPool,
    oldest: NaiveDate,
) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("select request_logs_drop_before($1)")
        .bind(oldest)
        .fetch_one(pool)
        .instrument(db_span("SELECT", "request_logs_drop_before"))
        .await
}
