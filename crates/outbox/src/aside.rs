//! Aggregates that the relay has set aside, for operators.
//!
//! A row that the broker refuses again and again would keep its aggregate's successors waiting and be tried for
//! ever. After some failures in a row the relay writes the aggregate down in `outbox_aside` and moves its rows, as it
//! meets them, to the bucket `-1 - bucket`, which no relay reads. Nothing is lost or passed over: releasing moves
//! them back under their old numbers, and they are published in their old order, before anything newer.
//!
//! **The race.** A relay that moves a row holds a share lock on the aggregate's entry; a release deletes the entry
//! first and moves the rows back in a second statement, which then sees all that was moved. No row can stay
//! behind in a bucket that nobody reads.

use sqlx::{Connection as _, FromRow, PgConnection};

use crate::StoreError;
use crate::relay::WAKE_CHANNEL;

/// One aggregate whose rows wait for an operator.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Aside {
    /// The topic that its rows were meant for.
    pub topic: String,
    /// The aggregate.
    pub aggregateid: String,
    /// When it was set aside, by the database's clock.
    pub since: chrono::DateTime<chrono::Utc>,
    /// How often in a row its first row was refused.
    pub failures: i32,
    /// The last refusal.
    pub reason: String,
    /// Rows that wait; counting stops at 10,000.
    pub rows: i64,
}

/// All that is set aside, the longest first.
///
/// # Errors
/// Whatever the database says.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<Aside>, StoreError> {
    let statement = "select topic, aggregateid, since, failures, reason, ( \
             select count(*) from (select from outbox where bucket < 0 and outbox.topic = a.topic \
                 and outbox.aggregateid = a.aggregateid limit 10000) as waiting) as rows \
         from outbox_aside as a order by since, topic, aggregateid";
    Ok(sqlx::query_as(statement).fetch_all(conn).await?)
}

/// Which aggregates to release.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// Everything that is set aside.
    All,
    /// All aggregates of one topic.
    Topic(&'a str),
    /// One aggregate of one topic.
    Aggregate {
        /// The topic.
        topic: &'a str,
        /// The aggregate.
        aggregate_id: &'a str,
    },
}

/// What a release did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    /// Aggregates that are no longer set aside.
    pub aggregates: u64,
    /// Rows that wait for the relay again.
    pub rows: u64,
}

/// Gives aggregates back to the relay, which then publishes their rows in order. If the cause remains they are set
/// aside once more.
///
/// # Errors
/// Whatever the database says; then nothing is released.
pub async fn release(conn: &mut PgConnection, which: Which<'_>) -> Result<Released, StoreError> {
    let (topic, aggregate_id) = match which {
        Which::All => (None, None),
        Which::Topic(topic) => (Some(topic), None),
        Which::Aggregate { topic, aggregate_id } => (Some(topic), Some(aggregate_id)),
    };
    let mut transaction = conn.begin().await?;
    let released: Vec<(String, String)> = sqlx::query_as(
        "delete from outbox_aside where ($1::text is null or topic = $1) \
             and ($2::text is null or aggregateid = $2) returning topic, aggregateid",
    )
    .bind(topic)
    .bind(aggregate_id)
    .fetch_all(&mut *transaction)
    .await?;
    let (topics, ids): (Vec<&str>, Vec<&str>) =
        released.iter().map(|(topic, id)| (topic.as_str(), id.as_str())).unzip();
    let moved = sqlx::query(
        "update outbox set bucket = -1 - outbox.bucket \
         from unnest($1::text[], $2::text[]) as released(topic, aggregateid) \
         where outbox.bucket < 0 and outbox.topic = released.topic \
             and outbox.aggregateid = released.aggregateid",
    )
    .bind(topics)
    .bind(ids)
    .execute(&mut *transaction)
    .await?;
    // Tells the relays, in the very snapshot that shows them the rows, to look for rows where they had taken all.
    sqlx::query("update outbox_release set releases = releases + 1")
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    // After the commit and by itself: a notification inside a transaction takes an instance-wide lock over its commit.
    sqlx::query("select pg_notify($1, '')").bind(WAKE_CHANNEL).execute(conn).await?;
    Ok(Released { aggregates: released.len() as u64, rows: moved.rows_affected() })
}
