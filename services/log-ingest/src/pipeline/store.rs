//! Stores a batch: COPY into a temporary table, then an insert that passes over what is there already.
//!
//! COPY is the fastest way in and knows no ON CONFLICT, hence the step between. The temporary table belongs to
//! its connection and empties itself at each commit, so it is made once a connection, not once a batch (the
//! catalogue would grow), and is never written to a log.

use millrace_common::telemetry::db_span;
use sqlx::{PgConnection, PgPool};
use tracing::Instrument as _;

use super::copy_text;
use super::line::Line;

/// Stores the lines and returns how many were new. The partitions of their days are there.
pub(crate) async fn lines_store(pool: &PgPool, lines: &[Line]) -> Result<u64, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    incoming_ensure(&mut transaction).await?;
    incoming_copy(&mut transaction, lines).await?;
    let stored = lines_insert(&mut transaction).await?;
    transaction.commit().await?;
    Ok(stored)
}

async fn incoming_ensure(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let there: bool = sqlx::query_scalar("select to_regclass('pg_temp.incoming_logs') is not null")
        .fetch_one(&mut *connection)
        .instrument(db_span("SELECT", "incoming_logs"))
        .await?;
    if !there {
        sqlx::query(
            "create temporary table incoming_logs (
                 id uuid, occurred_at timestamptz, service text, level text, method text, route text,
                 status integer, latency_us bigint, trace_id text, caller text
             ) on commit delete rows",
        )
        .execute(&mut *connection)
        .instrument(db_span("CREATE", "incoming_logs"))
        .await?;
    }
    Ok(())
}

async fn incoming_copy(connection: &mut PgConnection, lines: &[Line]) -> Result<(), sqlx::Error> {
    async {
        // The columns in the order of `copy_text::encode`.
        let mut copy = connection
            .copy_in_raw(
                "copy pg_temp.incoming_logs (id, occurred_at, service, level, method, route,
                                             status, latency_us, trace_id, caller) from stdin",
            )
            .await?;
        copy.send(copy_text::encode(lines)).await?;
        copy.finish().await
    }
    .instrument(db_span("COPY", "incoming_logs"))
    .await?;
    Ok(())
}

async fn lines_insert(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    // In key order, so that two instances that hold the same lines lock them in the same sequence.
    let done = sqlx::query(
        "insert into request_logs
             (id, occurred_at, service, level, method, route, status, latency_us, trace_id, caller)
         select id, occurred_at, service, level, method, route, status, latency_us, trace_id, caller
         from pg_temp.incoming_logs order by occurred_at, id
         on conflict do nothing",
    )
    .execute(connection)
    .instrument(db_span("INSERT", "request_logs"))
    .await?;
    Ok(done.rows_affected())
}
