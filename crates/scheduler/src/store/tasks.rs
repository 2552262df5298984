//! Reading and changing tasks, one at a time and under their versions.

use chrono::{DateTime, Utc};
use millrace_telemetry::db_span;
use sqlx::{FromRow, PgConnection};
use tracing::Instrument as _;

/// A task's row.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct TaskRow {
    pub(crate) id: String,
    pub(crate) origin: String,
    pub(crate) version: i64,
    pub(crate) spec: String,
    pub(crate) paused_at: Option<DateTime<Utc>>,
    pub(crate) pause_note: Option<String>,
    pub(crate) paused_by: Option<String>,
    pub(crate) next_at: Option<DateTime<Utc>>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

macro_rules! select_task {
    ($rest:literal) => {
        concat!(
            "select id, origin, version, spec::text as spec, paused_at, pause_note, paused_by, next_at, ",
            "created_at, updated_at from scheduled_task ",
            $rest
        )
    };
}

/// The database's clock, cut to milliseconds: what instants are made of.
pub(crate) async fn now(conn: &mut PgConnection) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar("select date_trunc('milliseconds', clock_timestamp())").fetch_one(conn).await
}

/// One task.
pub(crate) async fn get(conn: &mut PgConnection, id: &str) -> Result<Option<TaskRow>, sqlx::Error> {
    sqlx::query_as(select_task!("where id = $1"))
        .bind(id)
        .fetch_optional(conn)
        .instrument(db_span("SELECT", "scheduled_task"))
        .await
}

/// One task, locked: dispatchers pass it over until the transaction ends.
pub(crate) async fn lock(
    conn: &mut PgConnection,
    id: &str,
) -> Result<Option<TaskRow>, sqlx::Error> {
    sqlx::query_as(select_task!("where id = $1 for update"))
        .bind(id)
        .fetch_optional(conn)
        .instrument(db_span("SELECT", "scheduled_task"))
        .await
}

/// Tasks behind a name, in the order of names.
pub(crate) async fn page(
    conn: &mut PgConnection,
    after: &str,
    most: u16,
) -> Result<Vec<TaskRow>, sqlx::Error> {
    sqlx::query_as(select_task!("where id > $1 order by id limit $2"))
        .bind(after)
        .bind(i64::from(most))
        .fetch_all(conn)
        .instrument(db_span("SELECT", "scheduled_task"))
        .await
}

/// Names of the tasks of an origin that are not among these.
pub(crate) async fn others(
    conn: &mut PgConnection,
    origin: &str,
    ids: &[&str],
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select id from scheduled_task where origin = $1 and not id = any($2) order by id",
    )
    .bind(origin)
    .bind(ids)
    .fetch_all(conn)
    .instrument(db_span("SELECT", "scheduled_task"))
    .await
}

/// Makes a task; `None` when there is one of that name.
pub(crate) async fn insert(
    conn: &mut PgConnection,
    (id, origin, spec): (&str, &str, &str),
    next_at: Option<DateTime<Utc>>,
) -> Result<Option<TaskRow>, sqlx::Error> {
    sqlx::query_as(
        "insert into scheduled_task (id, origin, version, spec, next_at, look_at) \
         values ($1, $2, 1, $3::text::jsonb, $4, $4) on conflict (id) do nothing \
         returning id, origin, version, spec::text as spec, paused_at, pause_note, paused_by, next_at, \
             created_at, updated_at",
    )
    .bind(id)
    .bind(origin)
    .bind(spec)
    .bind(next_at)
    .fetch_optional(conn)
    .instrument(db_span("INSERT", "scheduled_task"))
    .await
}

/// Gives a locked task another form. It is looked at now: what is open is judged by the new form.
pub(crate) async fn change(
    conn: &mut PgConnection,
    (id, origin, spec): (&str, &str, &str),
    next_at: Option<DateTime<Utc>>,
) -> Result<TaskRow, sqlx::Error> {
    sqlx::query_as(
        "update scheduled_task set origin = $2, spec = $3::text::jsonb, version = version + 1, \
             next_at = $4, look_at = clock_timestamp(), updated_at = clock_timestamp() \
         where id = $1 \
         returning id, origin, version, spec::text as spec, paused_at, pause_note, paused_by, next_at, \
             created_at, updated_at",
    )
    .bind(id)
    .bind(origin)
    .bind(spec)
    .bind(next_at)
    .fetch_one(conn)
    .instrument(db_span("UPDATE", "scheduled_task"))
    .await
}

/// Pauses a locked task. Pausing again changes the note.
pub(crate) async fn pause(
    conn: &mut PgConnection,
    id: &str,
    note: &str,
    by: &str,
) -> Result<TaskRow, sqlx::Error> {
    sqlx::query_as(
        "update scheduled_task set paused_at = coalesce(paused_at, clock_timestamp()), pause_note = $2, \
             paused_by = $3, version = version + 1, updated_at = clock_timestamp() \
         where id = $1 \
         returning id, origin, version, spec::text as spec, paused_at, pause_note, paused_by, next_at, \
             created_at, updated_at",
    )
    .bind(id)
    .bind(note)
    .bind(by)
    .fetch_one(conn)
    .instrument(db_span("UPDATE", "scheduled_task"))
    .await
}

/// Lets a locked task go on, from `next_at`.
pub(crate) async fn resume(
    conn: &mut PgConnection,
    id: &str,
    next_at: Option<DateTime<Utc>>,
) -> Result<TaskRow, sqlx::Error> {
    sqlx::query_as(
        "update scheduled_task set paused_at = null, pause_note = null, paused_by = null, next_at = $2, \
             version = version + 1, look_at = clock_timestamp(), updated_at = clock_timestamp() \
         where id = $1 \
         returning id, origin, version, spec::text as spec, paused_at, pause_note, paused_by, next_at, \
             created_at, updated_at",
    )
    .bind(id)
    .bind(next_at)
    .fetch_one(conn)
    .instrument(db_span("UPDATE", "scheduled_task"))
    .await
}

/// Makes the dispatcher look at a task now.
pub(crate) async fn look_now(conn: &mut PgConnection, id: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update scheduled_task set look_at = least(look_at, clock_timestamp()) where id = $1",
    )
    .bind(id)
    .execute(conn)
    .instrument(db_span("UPDATE", "scheduled_task"))
    .await?;
    Ok(())
}

/// Removes a locked task. What is open of it ends: what waits is cancelled, what runs may no longer write.
pub(crate) async fn remove(conn: &mut PgConnection, id: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "update task_occurrence set ended_at = clock_timestamp(), until = null, reason = 'the task was removed', \
             state = case when state = 'waiting' then 'cancelled' else 'terminated' end \
         where task = $1 and ended_at is null",
    )
    .bind(id)
    .execute(&mut *conn)
    .instrument(db_span("UPDATE", "task_occurrence"))
    .await?;
    sqlx::query("delete from scheduled_task where id = $1")
        .bind(id)
        .execute(conn)
        .instrument(db_span("DELETE", "scheduled_task"))
        .await?;
    Ok(())
}
