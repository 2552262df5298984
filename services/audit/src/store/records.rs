//! Appending records, a batch a statement.

use chrono::{DateTime, Utc};
use millrace_common::telemetry::db_span;
use sqlx::PgPool;
use sqlx::types::Json;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::domain::AuditRecord;

/// Writes the records and returns how many were new; one whose id is there already stays as it is.
pub(crate) async fn records_append(
    pool: &PgPool,
    records: &[AuditRecord],
) -> Result<u64, sqlx::Error> {
    let column = |text: fn(&AuditRecord) -> &str| records.iter().map(text).collect::<Vec<&str>>();
    let ids: Vec<Uuid> = records.iter().map(|record| record.id).collect();
    let traces: Vec<Option<&str>> =
        records.iter().map(|record| record.trace_id.as_deref()).collect();
    let times: Vec<DateTime<Utc>> = records.iter().map(|record| record.occurred_at).collect();
    let details: Vec<Json<_>> = records.iter().map(|record| Json(&record.detail)).collect();
    let done = sqlx::query(
        "insert into audit_records
             (id, actor, action, resource, outcome, service, trace_id, occurred_at, detail)
         select * from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                              $7::text[], $8::timestamptz[], $9::jsonb[])
         on conflict (id) do nothing",
    )
    .bind(ids)
    .bind(column(|record| &record.actor))
    .bind(column(|record| &record.action))
    .bind(column(|record| &record.resource))
    .bind(column(|record| record.outcome.as_str()))
    .bind(column(|record| &record.service))
    .bind(traces)
    .bind(times)
    .bind(details)
    .execute(pool)
    .instrument(db_span("INSERT", "audit_records"))
    .await?;
    Ok(done.rows_affected())
}
