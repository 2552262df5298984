//! What a worker reads and writes of the occurrence that it works on.
//!
//! The proof is the run's number: taking an occurrence raises it, and every write names it. Whoever took it before,
//! and everybody whose occurrence has ended meanwhile, finds no row.

use chrono::{DateTime, Utc};
use millrace_runtime::sabotage::{self, Switch};
use millrace_telemetry::db_span;
use sqlx::{FromRow, PgConnection};
use tracing::Instrument as _;

/// One run of one occurrence.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RunKey {
    pub(crate) task: String,
    pub(crate) instant: DateTime<Utc>,
    pub(crate) run: i64,
}

/// Makes a worker the one that works on an attempt; `None` when there is nothing left to do for it. A message that
/// comes again takes over: whoever had it before is refused from now on.
pub(crate) async fn take(
    conn: &mut PgConnection,
    (task, instant, attempt): (&str, DateTime<Utc>, i32),
    worker: &str,
    trace_id: Option<&str>,
) -> Result<Option<i64>, sqlx::Error> {
    let statement = if sabotage::on(Switch::ScheduleSkipInbox) {
        "update task_occurrence set state = 'running', run = run + 1, ended_at = null, \
             until = coalesce(until, clock_timestamp() + interval '1 hour'), \
             started_at = clock_timestamp(), worker = $4, trace_id = coalesce($5, trace_id) \
         where task = $1 and instant = $2 and attempt = $3 returning run"
    } else {
        "update task_occurrence set state = 'running', run = run + 1, \
             started_at = clock_timestamp(), worker = $4, trace_id = coalesce($5, trace_id) \
         where task = $1 and instant = $2 and attempt = $3 and state in ('dispatched', 'running') \
             and not cancelling and until > clock_timestamp() \
         returning run"
    };
    sqlx::query_scalar(statement)
        .bind(task)
        .bind(instant)
        .bind(attempt)
        .bind(worker)
        .bind(trace_id)
        .fetch_optional(conn)
        .instrument(db_span("UPDATE", "task_occurrence"))
        .await
}

/// Ends an attempt that was asked to end before anybody had it; true when there was one.
pub(crate) async fn end_cancelled(
    conn: &mut PgConnection,
    (task, instant, attempt): (&str, DateTime<Utc>, i32),
) -> Result<bool, sqlx::Error> {
    let ended = sqlx::query(
        "update task_occurrence set state = 'cancelled', ended_at = clock_timestamp(), until = null \
         where task = $1 and instant = $2 and attempt = $3 and cancelling \
             and state in ('dispatched', 'running')",
    )
    .bind(task)
    .bind(instant)
    .bind(attempt)
    .execute(conn)
    .instrument(db_span("UPDATE", "task_occurrence"))
    .await?;
    Ok(ended.rows_affected() == 1)
}

/// Locks the occurrence for a write of this run; false when the run may no longer write. The lock lasts until the
/// transaction ends, so nobody takes over, terminates or times out in the middle of it.
pub(crate) async fn prove(conn: &mut PgConnection, key: &RunKey) -> Result<bool, sqlx::Error> {
    if sabotage::on(Switch::ScheduleIgnoreTermination) {
        return Ok(true);
    }
    let proven: Option<bool> = sqlx::query_scalar(
        "select true from task_occurrence where task = $1 and instant = $2 and run = $3 \
             and state = 'running' and until > clock_timestamp() for update",
    )
    .bind(&key.task)
    .bind(key.instant)
    .bind(key.run)
    .fetch_optional(conn)
    .instrument(db_span("SELECT", "task_occurrence"))
    .await?;
    Ok(proven.is_some())
}

/// Ends the occurrence as done; false when it is no longer this run's.
pub(crate) async fn done(conn: &mut PgConnection, key: &RunKey) -> Result<bool, sqlx::Error> {
    end(conn, key, "done", None).await
}

/// Ends the occurrence in another way; false when it is no longer this run's.
pub(crate) async fn end(
    conn: &mut PgConnection,
    key: &RunKey,
    state: &'static str,
    reason: Option<&str>,
) -> Result<bool, sqlx::Error> {
    let ended = sqlx::query(
        "update task_occurrence set state = $4, ended_at = clock_timestamp(), until = null, \
             reason = coalesce($5, reason) \
         where task = $1 and instant = $2 and run = $3 and state = 'running'",
    )
    .bind(&key.task)
    .bind(key.instant)
    .bind(key.run)
    .bind(state)
    .bind(reason)
    .execute(conn)
    .instrument(db_span("UPDATE", "task_occurrence"))
    .await?;
    Ok(ended.rows_affected() == 1 || sabotage::on(Switch::ScheduleIgnoreTermination))
}

/// A run that failed, locked.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct FailedRun {
    pub(crate) attempt: i32,
    pub(crate) cancelling: bool,
    /// What the task says of retries, if it still exists.
    pub(crate) retry: Option<String>,
}

/// Locks a run that failed; `None` when the occurrence is no longer its.
pub(crate) async fn lock_failed(
    conn: &mut PgConnection,
    key: &RunKey,
) -> Result<Option<FailedRun>, sqlx::Error> {
    sqlx::query_as(
        "select attempt, cancelling, \
             (select (spec -> 'retry')::text from scheduled_task where id = $1) as retry \
         from task_occurrence where task = $1 and instant = $2 and run = $3 and state = 'running' \
         for update",
    )
    .bind(&key.task)
    .bind(key.instant)
    .bind(key.run)
    .fetch_optional(conn)
    .instrument(db_span("SELECT", "task_occurrence"))
    .await
}

/// Puts a locked run back for another attempt after `wait`, and makes the dispatcher look at it then.
pub(crate) async fn try_again(
    conn: &mut PgConnection,
    key: &RunKey,
    wait: std::time::Duration,
    reason: &str,
) -> Result<(), sqlx::Error> {
    let fire_at: DateTime<Utc> = sqlx::query_scalar(
        "update task_occurrence set state = 'waiting', until = null, reason = $5, \
             fire_at = clock_timestamp() + make_interval(secs => $4) \
         where task = $1 and instant = $2 and run = $3 returning fire_at",
    )
    .bind(&key.task)
    .bind(key.instant)
    .bind(key.run)
    .bind(wait.as_secs_f64())
    .bind(reason)
    .fetch_one(&mut *conn)
    .instrument(db_span("UPDATE", "task_occurrence"))
    .await?;
    sqlx::query("update scheduled_task set look_at = least(look_at, $2) where id = $1")
        .bind(&key.task)
        .bind(fire_at)
        .execute(conn)
        .instrument(db_span("UPDATE", "scheduled_task"))
        .await?;
    Ok(())
}

/// Makes the dispatcher look at a task in which an occurrence waits for a place; true when one does.
pub(crate) async fn nudge(conn: &mut PgConnection, task: &str) -> Result<bool, sqlx::Error> {
    let nudged = sqlx::query(
        "update scheduled_task set look_at = least(look_at, clock_timestamp()) \
         where id = $1 and exists ( \
             select from task_occurrence where task = $1 and state = 'waiting' and attempt = 0 \
                 and fire_at <= statement_timestamp())",
    )
    .bind(task)
    .execute(conn)
    .instrument(db_span("UPDATE", "scheduled_task"))
    .await?;
    Ok(nudged.rows_affected() == 1)
}

/// What became of a run, seen from outside.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Seen {
    pub(crate) task: String,
    pub(crate) instant: DateTime<Utc>,
    pub(crate) run: i64,
    /// It may no longer write.
    pub(crate) over: bool,
}

/// Of these runs, those that should end: asked to, taken over, terminated, out of time. One query for all.
/// One that is done has ended itself, and its handler may still be on its way back from the commit.
pub(crate) async fn to_end(
    conn: &mut PgConnection,
    keys: &[RunKey],
) -> Result<Vec<Seen>, sqlx::Error> {
    let tasks: Vec<&str> = keys.iter().map(|key| key.task.as_str()).collect();
    let instants: Vec<_> = keys.iter().map(|key| key.instant).collect();
    let runs: Vec<i64> = keys.iter().map(|key| key.run).collect();
    sqlx::query_as(
        "select r.task, r.instant, r.run, \
             (o.run is distinct from r.run or o.state <> 'running' or o.until <= clock_timestamp()) as over \
         from unnest($1::text[], $2::timestamptz[], $3::bigint[]) as r(task, instant, run) \
         left join task_occurrence o on o.task = r.task and o.instant = r.instant \
         where (o.run is distinct from r.run or o.state <> 'done') \
             and (o.run is distinct from r.run or o.state <> 'running' or o.cancelling \
                 or o.until <= clock_timestamp())",
    )
    .bind(&tasks)
    .bind(&instants)
    .bind(&runs)
    .fetch_all(conn)
    .instrument(db_span("SELECT", "task_occurrence"))
    .await
}
