//! What a look at due tasks reads, and locks.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use millrace_runtime::sabotage::{self, Switch};
use millrace_telemetry::db_span;
use sqlx::{FromRow, PgConnection};
use tracing::Instrument as _;

use super::state::{OccurrenceState, read};
use crate::policy::{BUFFERED_MAX, Open, Overlap, Stage};

/// A task that somebody must look at, locked.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct DueTask {
    pub(crate) id: String,
    pub(crate) spec: String,
    pub(crate) paused: bool,
    pub(crate) next_at: Option<DateTime<Utc>>,
    /// The database's clock; the same in all rows of a look.
    pub(crate) now: DateTime<Utc>,
}

/// An occurrence that has not ended, as it was read.
#[derive(Debug, Clone)]
pub(crate) struct OpenRow {
    pub(crate) instant: DateTime<Utc>,
    pub(crate) state: OccurrenceState,
    pub(crate) fire_at: DateTime<Utc>,
    pub(crate) attempt: i32,
    pub(crate) until: Option<DateTime<Utc>>,
    pub(crate) cancelling: bool,
    pub(crate) overlap: Option<Overlap>,
}

impl OpenRow {
    pub(crate) fn open(&self) -> Open {
        let stage = match (self.state, self.until) {
            (OccurrenceState::Waiting, _) if self.attempt == 0 => Stage::Waiting,
            (OccurrenceState::Waiting, _) => Stage::BetweenAttempts,
            // One without an end can't be; if it is, its time is over.
            (_, until) => {
                Stage::Active { cancelling: self.cancelling, until: until.unwrap_or(self.fire_at) }
            }
        };
        Open { instant: self.instant, fire_at: self.fire_at, stage, overlap: self.overlap }
    }
}

/// Locks due tasks, the longest due first, and passes over those that somebody else has.
pub(crate) async fn lock(conn: &mut PgConnection, most: u16) -> Result<Vec<DueTask>, sqlx::Error> {
    let statement = if sabotage::on(Switch::ScheduleSkipUnique) {
        "select id, spec::text as spec, paused_at is not null as paused, next_at, \
             statement_timestamp() as now from scheduled_task \
         where look_at <= statement_timestamp() order by look_at limit $1"
    } else {
        "select id, spec::text as spec, paused_at is not null as paused, next_at, \
             statement_timestamp() as now from scheduled_task \
         where look_at <= statement_timestamp() order by look_at limit $1 for update skip locked"
    };
    sqlx::query_as(statement)
        .bind(i64::from(most))
        .fetch_all(conn)
        .instrument(db_span("SELECT", "scheduled_task"))
        .await
}

/// The open occurrences of tasks, by task. Of those that wait only the first ones to begin are read: a backfill may
/// have left thousands, and none of them is decided on before its turn.
pub(crate) async fn open(
    conn: &mut PgConnection,
    tasks: &[&str],
) -> Result<HashMap<String, Vec<OpenRow>>, sqlx::Error> {
    type Row = (
        String,
        DateTime<Utc>,
        String,
        DateTime<Utc>,
        i32,
        Option<DateTime<Utc>>,
        bool,
        Option<String>,
    );
    let rows: Vec<Row> = sqlx::query_as(
        "select o.task, o.instant, o.state, o.fire_at, o.attempt, o.until, o.cancelling, o.overlap \
         from unnest($1::text[]) as t(id) cross join lateral ( \
             (select * from task_occurrence where task = t.id and ended_at is null \
                  and (state <> 'waiting' or attempt > 0) \
              order by coalesce(until, fire_at) limit $2) \
             union all \
             (select * from task_occurrence where task = t.id and state = 'waiting' and attempt = 0 \
              order by fire_at, instant limit $2)) as o",
    )
    .bind(tasks)
    .bind(i64::try_from(BUFFERED_MAX).unwrap_or(i64::MAX))
    .fetch_all(conn)
    .instrument(db_span("SELECT", "task_occurrence"))
    .await?;
    let mut open: HashMap<String, Vec<OpenRow>> = HashMap::new();
    for (task, instant, state, fire_at, attempt, until, cancelling, overlap) in rows {
        let state = read("state", &state, OccurrenceState::parse)?;
        let overlap = overlap.map(|word| read("overlap", &word, Overlap::parse)).transpose()?;
        let row = OpenRow { instant, state, fire_at, attempt, until, cancelling, overlap };
        open.entry(task).or_default().push(row);
    }
    Ok(open)
}

/// Seconds until a task needs a look; negative when one is due.
pub(crate) async fn next_look(conn: &mut PgConnection) -> Result<Option<f64>, sqlx::Error> {
    sqlx::query_scalar(
        "select extract(epoch from (min(look_at) - clock_timestamp()))::float8 from scheduled_task \
         where look_at is not null",
    )
    .fetch_one(conn)
    .instrument(db_span("SELECT", "scheduled_task"))
    .await
}

/// Occurrences that have begun and not ended; counting stops at 100,000.
pub(crate) async fn open_count(conn: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "select count(*) from (select 1 from task_occurrence \
         where ended_at is null and (state <> 'waiting' or attempt > 0) limit 100000) as open",
    )
    .fetch_one(conn)
    .instrument(db_span("SELECT", "task_occurrence"))
    .await
}
