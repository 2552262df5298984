//! Messages already handled or given up. The unique insert is the gate: looking first and inserting later would race.

use std::collections::HashSet;
use std::time::Duration;

use millrace_envelope::ConsumerGroup;
use millrace_runtime::sabotage::{self, Switch};
use millrace_telemetry::db_span;
use sqlx::PgConnection;
use tracing::Instrument as _;
use uuid::Uuid;

/// How long a handled message is remembered. **A repeat that comes later is handled again**: as far as this table knows
/// it is a new message. So the window must exceed the longest time after which a record can come again: an outage of
/// consumers, a group's offsets set back, a redrive from a dead-letter topic. Whoever sets offsets back further than
/// the window must know that the effects are repeated, or clear them first.
pub const INBOX_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// Marks the messages as handled by `group` in the caller's transaction and returns those that are new.
///
/// A message that another open transaction has claimed makes this wait for that one's end, at most the lock
/// timeout (a transient failure). A message that was given up (outcome `dead`) is not new either: its dead letter is
/// on its way, and a redrive under the same id needs that row removed. A batch may carry one id twice: take each id *out* of the returned set when you
/// handle it, and the second is a repeat like any other.
///
/// # Errors
/// Whatever the database says.
pub async fn inbox_claim(
    conn: &mut PgConnection,
    group: ConsumerGroup,
    ids: &[Uuid],
) -> Result<HashSet<Uuid>, sqlx::Error> {
    // In the order of ids, so that two overlapping batches wait for each other instead of deadlocking.
    let new: Vec<Uuid> = sqlx::query_scalar(
        "insert into inbox (message_id, consumer_group) \
         select id, $2 from unnest($1::uuid[]) as id order by id \
         on conflict do nothing returning message_id",
    )
    .bind(ids)
    .bind(group.as_str())
    .fetch_all(conn)
    .instrument(db_span("INSERT", "inbox"))
    .await?;
    if sabotage::on(Switch::SkipInbox) {
        return Ok(ids.iter().copied().collect());
    }
    Ok(new.into_iter().collect())
}

/// Forgets at most `rows_max` messages handled longer than `older_than` ago; returns how many. Call it until it
/// returns less than `rows_max`: short statements hold their locks briefly.
///
/// # Errors
/// Whatever the database says.
pub async fn inbox_clean(
    conn: &mut PgConnection,
    older_than: Duration,
    rows_max: u32,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "delete from inbox where ctid = any(array( \
             select ctid from inbox where handled_at < now() - make_interval(secs => $1) limit $2))",
    )
    .bind(older_than.as_secs_f64())
    .bind(i64::from(rows_max))
    .execute(conn)
    .instrument(db_span("DELETE", "inbox"))
    .await?;
    Ok(done.rows_affected())
}
