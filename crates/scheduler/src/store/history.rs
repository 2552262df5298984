//! Occurrences as history: those that somebody asks for, pages of them, and the end of the old ones.

use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_telemetry::db_span;
use sqlx::{FromRow, PgConnection};
use tracing::Instrument as _;

/// An occurrence's row.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct OccurrenceRow {
    pub(crate) instant: DateTime<Utc>,
    pub(crate) state: String,
    pub(crate) kind: String,
    pub(crate) fire_at: DateTime<Utc>,
    pub(crate) attempt: i32,
    pub(crate) dispatched_at: Option<DateTime<Utc>>,
    pub(crate) started_at: Option<DateTime<Utc>>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
    pub(crate) worker: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) trace_id: Option<String>,
    pub(crate) missed_until: Option<DateTime<Utc>>,
    pub(crate) missed_count: Option<i32>,
}

macro_rules! select_occurrences {
    ($where:literal) => {
        concat!(
            "select instant, state, kind, fire_at, attempt, dispatched_at, started_at, ended_at, worker, reason, ",
            "trace_id, missed_until, missed_count from task_occurrence where task = $1 and instant < $2 ",
            $where,
            " order by instant desc limit $3"
        )
    };
}

/// Occurrences of a task before an instant, the last ones first.
pub(crate) async fn page(
    conn: &mut PgConnection,
    task: &str,
    before: DateTime<Utc>,
    state: Option<&'static str>,
    most: u16,
) -> Result<Vec<OccurrenceRow>, sqlx::Error> {
    let query = match state {
        None => sqlx::query_as(select_occurrences!("")),
        // Each kind of state along the index that has it.
        Some("waiting") => {
            sqlx::query_as(select_occurrences!("and state = 'waiting' and ended_at is null"))
        }
        Some("dispatched") => {
            sqlx::query_as(select_occurrences!("and state = 'dispatched' and ended_at is null"))
        }
        Some("running") => {
            sqlx::query_as(select_occurrences!("and state = 'running' and ended_at is null"))
        }
        Some(_) => sqlx::query_as(select_occurrences!("and state = $4 and ended_at is not null")),
    };
    let ended = state.filter(|state| !["waiting", "dispatched", "running"].contains(state));
    let mut query = query.bind(task).bind(before).bind(i64::from(most));
    if let Some(state) = ended {
        query = query.bind(state);
    }
    query.fetch_all(conn).instrument(db_span("SELECT", "task_occurrence")).await
}

/// Adds occurrences that somebody asked for. One that was left out or missed begins anew; others that exist stay
/// what they are. Answers how many will be made.
pub(crate) async fn ask_for(
    conn: &mut PgConnection,
    task: &str,
    instants: &[DateTime<Utc>],
    kind: &'static str,
    overlap: Option<&'static str>,
) -> Result<u64, sqlx::Error> {
    let added = sqlx::query(
        "insert into task_occurrence as o (task, instant, state, kind, overlap, fire_at) \
         select $1, instant, 'waiting', $3, $4, clock_timestamp() from unnest($2::timestamptz[]) as instant \
         on conflict (task, instant) do update set state = 'waiting', kind = $3, overlap = $4, \
             fire_at = clock_timestamp(), ended_at = null, reason = null \
         where o.state in ('missed', 'skipped')",
    )
    .bind(task)
    .bind(instants)
    .bind(kind)
    .bind(overlap)
    .execute(conn)
    .instrument(db_span("INSERT", "task_occurrence"))
    .await?;
    Ok(added.rows_affected())
}

/// Tasks whose occurrences are kept for a time of their own, in milliseconds.
pub(crate) async fn retentions(conn: &mut PgConnection) -> Result<Vec<(String, i64)>, sqlx::Error> {
    sqlx::query_as(
        "select id, (spec ->> 'retention_ms')::bigint from scheduled_task \
         where spec ->> 'retention_ms' is not null order by id",
    )
    .fetch_all(conn)
    .instrument(db_span("SELECT", "scheduled_task"))
    .await
}

/// Forgets at most `most` occurrences of one task that were due and ended longer than `older_than` ago; answers how
/// many. What was due is asked first, because that is where the key begins.
pub(crate) async fn clean_task(
    conn: &mut PgConnection,
    task: &str,
    older_than: Duration,
    most: u32,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "delete from task_occurrence where ctid = any(array( \
             select ctid from task_occurrence \
             where task = $1 and instant < now() - make_interval(secs => $2) \
                 and ended_at < now() - make_interval(secs => $2) \
             order by instant limit $3))",
    )
    .bind(task)
    .bind(older_than.as_secs_f64())
    .bind(i64::from(most))
    .execute(conn)
    .instrument(db_span("DELETE", "task_occurrence"))
    .await?;
    Ok(done.rows_affected())
}

/// Forgets at most `most` occurrences that ended longer than `older_than` ago; answers how many.
pub(crate) async fn clean(
    conn: &mut PgConnection,
    older_than: Duration,
    most: u32,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "delete from task_occurrence where ctid = any(array( \
             select ctid from task_occurrence where ended_at < now() - make_interval(secs => $1) \
             order by ended_at limit $2))",
    )
    .bind(older_than.as_secs_f64())
    .bind(i64::from(most))
    .execute(conn)
    .instrument(db_span("DELETE", "task_occurrence"))
    .await?;
    Ok(done.rows_affected())
}
