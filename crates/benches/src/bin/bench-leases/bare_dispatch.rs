//! The rows of a dispatch, inserted without deciding anything: what PostgreSQL takes for them at the least.
//!
//! As many rows in a transaction as the dispatcher's batch, two statements with arrays, one connection. Nothing is read,
//! locked, moved or encoded.

use std::sync::Arc;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgPool};
use uuid::Uuid;

/// The batch of `config/scheduler.toml`.
const BATCH: usize = 1000;

/// What a dispatch left in the tables.
#[derive(Clone)]
pub(crate) struct Rows(Arc<Vec<(Vec<Occurrence>, Vec<Message>)>>);

#[derive(Debug, Clone, FromRow)]
struct Occurrence {
    task: String,
    instant: DateTime<Utc>,
    state: String,
    kind: String,
    fire_at: DateTime<Utc>,
    attempt: i32,
    until: Option<DateTime<Utc>>,
    dispatched_at: Option<DateTime<Utc>>,
    trace_id: Option<String>,
    fence: Option<i64>,
}

#[derive(Debug, Clone, FromRow)]
struct Message {
    id: Uuid,
    aggregatetype: String,
    aggregateid: String,
    #[sqlx(rename = "type")]
    event_type: String,
    payload: String,
    topic: String,
    headers: String,
    ce_time: String,
    ce_correlationid: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    bucket: i16,
}

impl Rows {
    pub(crate) async fn take(owner: &PgPool) -> Result<Self> {
        let occurrences: Vec<Occurrence> = sqlx::query_as(
            "select o.* from task_occurrence o \
             join outbox m on m.aggregateid = o.task order by m.seq",
        )
        .fetch_all(owner)
        .await
        .context("reading occurrences")?;
        let messages: Vec<Message> =
            sqlx::query_as(
            "select id, aggregatetype, aggregateid, type, payload, topic, headers::text as headers, ce_time, \
                 ce_correlationid, traceparent, tracestate, bucket from outbox order by seq",
        )
        .fetch_all(owner)
        .await
        .context("reading messages")?;
        let batches = occurrences.chunks(BATCH).zip(messages.chunks(BATCH));
        Ok(Self(Arc::new(batches.map(|(some, told)| (some.to_vec(), told.to_vec())).collect())))
    }

    /// Puts them where they came from, a transaction for each batch.
    pub(crate) async fn insert(&self, pool: &PgPool) -> Result<()> {
        let mut connection = pool.acquire().await?;
        for (occurrences, messages) in self.0.iter() {
            let mut transaction = sqlx::Connection::begin(&mut *connection).await?;
            insert_occurrences(&mut transaction, occurrences).await?;
            insert_messages(&mut transaction, messages).await?;
            transaction.commit().await?;
        }
        Ok(())
    }
}

/// One column of some rows.
fn column<'a, R, T>(rows: &'a [R], of: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}

async fn insert_occurrences(
    conn: &mut sqlx::PgConnection,
    rows: &[Occurrence],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into task_occurrence (task, instant, state, kind, fire_at, attempt, until, dispatched_at, \
             trace_id, fence) \
         select * from unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::timestamptz[], \
             $6::int[], $7::timestamptz[], $8::timestamptz[], $9::text[], $10::bigint[])",
    )
    .bind(column(rows, |row| row.task.as_str()))
    .bind(column(rows, |row| row.instant))
    .bind(column(rows, |row| row.state.as_str()))
    .bind(column(rows, |row| row.kind.as_str()))
    .bind(column(rows, |row| row.fire_at))
    .bind(column(rows, |row| row.attempt))
    .bind(column(rows, |row| row.until))
    .bind(column(rows, |row| row.dispatched_at))
    .bind(column(rows, |row| row.trace_id.as_deref()))
    .bind(column(rows, |row| row.fence))
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert_messages(
    conn: &mut sqlx::PgConnection,
    rows: &[Message],
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into outbox (id, aggregatetype, aggregateid, type, payload, topic, headers, ce_time, \
             ce_correlationid, traceparent, tracestate, bucket) \
         select id, aggregatetype, aggregateid, type, payload, topic, headers::jsonb, ce_time, correlation, \
             parent, state, bucket \
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], \
             $8::text[], $9::text[], $10::text[], $11::text[], $12::smallint[]) as r(id, aggregatetype, \
             aggregateid, type, payload, topic, headers, ce_time, correlation, parent, state, bucket)",
    )
    .bind(column(rows, |row| row.id))
    .bind(column(rows, |row| row.aggregatetype.as_str()))
    .bind(column(rows, |row| row.aggregateid.as_str()))
    .bind(column(rows, |row| row.event_type.as_str()))
    .bind(column(rows, |row| row.payload.as_str()))
    .bind(column(rows, |row| row.topic.as_str()))
    .bind(column(rows, |row| row.headers.as_str()))
    .bind(column(rows, |row| row.ce_time.as_str()))
    .bind(column(rows, |row| row.ce_correlationid.as_deref()))
    .bind(column(rows, |row| row.traceparent.as_deref()))
    .bind(column(rows, |row| row.tracestate.as_deref()))
    .bind(column(rows, |row| row.bucket))
    .execute(conn)
    .await?;
    Ok(())
}
