//! Writes what a look has decided, a statement for each kind of change however many there are.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use millrace_runtime::sabotage::{self, Switch};
use millrace_telemetry::db_span;
use sqlx::PgConnection;
use tracing::Instrument as _;

use super::state::OccurrenceState;

/// An occurrence's new state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Written {
    pub(crate) task: String,
    pub(crate) instant: DateTime<Utc>,
    pub(crate) state: OccurrenceState,
    pub(crate) fire_at: DateTime<Utc>,
    pub(crate) attempt: i32,
    pub(crate) until: Option<DateTime<Utc>>,
    pub(crate) cancelling: bool,
    /// Begun by this change.
    pub(crate) dispatched: bool,
    pub(crate) reason: Option<&'static str>,
    pub(crate) trace_id: Option<String>,
    pub(crate) missed: Option<(DateTime<Utc>, Option<i32>)>,
}

/// Who an occurrence is.
pub(crate) type OccurrenceKey = (String, DateTime<Utc>);

/// A locked row as it stands now: what must still be as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: OccurrenceState,
    pub(crate) attempt: i32,
    pub(crate) cancelling: bool,
}

/// Locks rows that are to be changed. One that is missing from the answer is held by a worker's transaction: nobody
/// waits for it here, because one worker that stands still must not stop the dispatch.
pub(crate) async fn lock(
    conn: &mut PgConnection,
    rows: &[OccurrenceKey],
) -> Result<HashMap<OccurrenceKey, Standing>, sqlx::Error> {
    if rows.is_empty() {
        return Ok(HashMap::new());
    }
    let (tasks, instants): (Vec<&str>, Vec<DateTime<Utc>>) =
        rows.iter().map(|(task, instant)| (task.as_str(), *instant)).unzip();
    let locked: Vec<(String, DateTime<Utc>, String, i32, bool)> = sqlx::query_as(
        "select o.task, o.instant, o.state, o.attempt, o.cancelling \
         from unnest($1::text[], $2::timestamptz[]) as r(task, instant) \
         join task_occurrence o on o.task = r.task and o.instant = r.instant \
         for update of o skip locked",
    )
    .bind(&tasks)
    .bind(&instants)
    .fetch_all(conn)
    .instrument(db_span("SELECT", "task_occurrence"))
    .await?;
    locked
        .into_iter()
        .map(|(task, instant, state, attempt, cancelling)| {
            let state = super::state::read("state", &state, OccurrenceState::parse)?;
            Ok(((task, instant), Standing { state, attempt, cancelling }))
        })
        .collect()
}

/// Writes new occurrences and answers which of them are new: the key decides, whoever else dispatches.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    rows: &[Written],
    fence: Option<i64>,
) -> Result<HashSet<OccurrenceKey>, sqlx::Error> {
    if rows.is_empty() {
        return Ok(HashSet::new());
    }
    let columns = Columns::of(rows);
    let missed_until: Vec<_> = rows.iter().map(|row| row.missed.map(|(until, _)| until)).collect();
    let missed_count: Vec<_> =
        rows.iter().map(|row| row.missed.and_then(|(_, count)| count)).collect();
    let new: Vec<OccurrenceKey> = sqlx::query_as(
        "insert into task_occurrence (task, instant, state, kind, fire_at, attempt, until, \
             cancelling, dispatched_at, ended_at, reason, trace_id, missed_until, missed_count, fence) \
         select r.task, r.instant, r.state, 'scheduled', r.fire_at, r.attempt, r.until, r.cancelling, \
             case when r.dispatched then statement_timestamp() end, \
             case when r.ended then statement_timestamp() end, r.reason, r.trace_id, r.missed_until, \
             r.missed_count, case when r.dispatched then $13::bigint end \
         from unnest($1::text[], $2::timestamptz[], $3::text[], $4::timestamptz[], $5::int[], \
             $6::timestamptz[], $7::bool[], $8::bool[], $9::bool[], $10::text[], $11::text[], \
             $12::timestamptz[], $14::int[]) as r(task, instant, state, fire_at, attempt, until, \
             cancelling, dispatched, ended, reason, trace_id, missed_until, missed_count) \
         on conflict (task, instant) do nothing returning task, instant",
    )
    .bind(&columns.tasks)
    .bind(&columns.instants)
    .bind(&columns.states)
    .bind(&columns.fire_at)
    .bind(&columns.attempts)
    .bind(&columns.until)
    .bind(&columns.cancelling)
    .bind(&columns.dispatched)
    .bind(&columns.ended)
    .bind(&columns.reasons)
    .bind(&columns.traces)
    .bind(&missed_until)
    .bind(fence)
    .bind(&missed_count)
    .fetch_all(conn)
    .instrument(db_span("INSERT", "task_occurrence"))
    .await?;
    if sabotage::on(Switch::ScheduleSkipUnique) {
        return Ok(rows.iter().map(|row| (row.task.clone(), row.instant)).collect());
    }
    Ok(new.into_iter().collect())
}

/// Changes occurrences that are locked.
pub(crate) async fn update(
    conn: &mut PgConnection,
    rows: &[Written],
    fence: Option<i64>,
) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let columns = Columns::of(rows);
    sqlx::query(
        "update task_occurrence o set state = r.state, fire_at = r.fire_at, attempt = r.attempt, \
             until = r.until, cancelling = r.cancelling, \
             dispatched_at = case when r.dispatched then statement_timestamp() else o.dispatched_at end, \
             ended_at = case when r.ended then statement_timestamp() end, \
             reason = coalesce(r.reason, o.reason), trace_id = coalesce(r.trace_id, o.trace_id), \
             fence = case when r.dispatched then $12::bigint else o.fence end \
         from unnest($1::text[], $2::timestamptz[], $3::text[], $4::timestamptz[], $5::int[], \
             $6::timestamptz[], $7::bool[], $8::bool[], $9::bool[], $10::text[], $11::text[]) \
             as r(task, instant, state, fire_at, attempt, until, cancelling, dispatched, ended, reason, \
             trace_id) \
         where o.task = r.task and o.instant = r.instant",
    )
    .bind(&columns.tasks)
    .bind(&columns.instants)
    .bind(&columns.states)
    .bind(&columns.fire_at)
    .bind(&columns.attempts)
    .bind(&columns.until)
    .bind(&columns.cancelling)
    .bind(&columns.dispatched)
    .bind(&columns.ended)
    .bind(&columns.reasons)
    .bind(&columns.traces)
    .bind(fence)
    .execute(conn)
    .instrument(db_span("UPDATE", "task_occurrence"))
    .await?;
    Ok(())
}

/// What comes next for a task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moved {
    pub(crate) task: String,
    pub(crate) next_at: Option<DateTime<Utc>>,
    pub(crate) look_at: Option<DateTime<Utc>>,
}

/// Moves tasks that are locked.
pub(crate) async fn move_tasks(
    conn: &mut PgConnection,
    tasks: &[Moved],
) -> Result<(), sqlx::Error> {
    if tasks.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = tasks.iter().map(|task| task.task.as_str()).collect();
    let next_at: Vec<_> = tasks.iter().map(|task| task.next_at).collect();
    let look_at: Vec<_> = tasks.iter().map(|task| task.look_at).collect();
    sqlx::query(
        "update scheduled_task t set next_at = r.next_at, look_at = r.look_at \
         from unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) as r(id, next_at, look_at) \
         where t.id = r.id",
    )
    .bind(&ids)
    .bind(&next_at)
    .bind(&look_at)
    .execute(conn)
    .instrument(db_span("UPDATE", "scheduled_task"))
    .await?;
    Ok(())
}

/// Rows turned into arrays.
struct Columns<'a> {
    tasks: Vec<&'a str>,
    instants: Vec<DateTime<Utc>>,
    states: Vec<&'static str>,
    fire_at: Vec<DateTime<Utc>>,
    attempts: Vec<i32>,
    until: Vec<Option<DateTime<Utc>>>,
    cancelling: Vec<bool>,
    dispatched: Vec<bool>,
    ended: Vec<bool>,
    reasons: Vec<Option<&'static str>>,
    traces: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(rows: &'a [Written]) -> Self {
        Self {
            tasks: rows.iter().map(|row| row.task.as_str()).collect(),
            instants: rows.iter().map(|row| row.instant).collect(),
            states: rows.iter().map(|row| row.state.as_str()).collect(),
            fire_at: rows.iter().map(|row| row.fire_at).collect(),
            attempts: rows.iter().map(|row| row.attempt).collect(),
            until: rows.iter().map(|row| row.until).collect(),
            cancelling: rows.iter().map(|row| row.cancelling).collect(),
            dispatched: rows.iter().map(|row| row.dispatched).collect(),
            ended: rows.iter().map(|row| row.state.ended()).collect(),
            reasons: rows.iter().map(|row| row.reason).collect(),
            traces: rows.iter().map(|row| row.trace_id.as_deref()).collect(),
        }
    }
}
