//! Epochs of partition owners, beside the sink that checks them.
//!
//! A sink with an inbox needs none of this: the unique row decides. A sink that keeps no inbox (it writes tallies,
//! say, under offsets) asks [`check`] inside its transaction whether its owner's number still stands.
//!
//! **The race.** `check` takes a share lock on the epoch's row, which [`Epochs`]' update needs for itself. So either
//! the check comes first, and a new owner's draw waits until the old owner's transaction has ended: the write
//! belongs to the time before the draw. Or the draw comes first, and the check waits for it, sees the higher
//! number, and the write is refused. There is no third order; a check without lock would have one (checked, drawn by
//! another, written). The lock must be `for share`: `for key share` lets an update of a plain column pass.
//! A draw doesn't wait for ever: an owner that stopped in its transaction is ended by the database after
//! `idle_in_transaction_timeout`, and a draw that gives up after `lock_timeout` is tried again.
//!
//! **Never lower.** A number is at least the database's clock in milliseconds, so that a database restored from a
//! backup, which has forgotten its last draws, can't hand out a number that a stale owner already holds.

use std::error::Error;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use millrace_envelope::{ConsumerGroup, TopicName};
use millrace_messaging::{Epoch, EpochStore};
use millrace_runtime::sabotage::{self, Switch};
use millrace_telemetry::db_span;
use sqlx::{FromRow, PgConnection, PgPool};
use tracing::Instrument as _;

use crate::StoreError;

const DRAW: &str = "insert into consumer_epoch as drawn (consumer_group, topic, partition, epoch) \
     values ($1, $2, $3, (extract(epoch from clock_timestamp()) * 1000)::bigint) \
     on conflict (consumer_group, topic, partition) do update set \
         epoch = greatest(drawn.epoch + 1, excluded.epoch), drawn_at = clock_timestamp() \
     returning epoch";

/// Draws epochs from the table `consumer_epoch`. Cloning shares the pool.
#[derive(Debug, Clone)]
pub struct Epochs {
    pool: PgPool,
}

impl Epochs {
    /// In the sink's own database.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}

impl EpochStore for Epochs {
    fn draw(
        &self,
        group: ConsumerGroup,
        topic: &TopicName,
        partition: i32,
    ) -> BoxFuture<'_, Result<i64, Box<dyn Error + Send + Sync>>> {
        let topic = topic.as_str().to_owned();
        async move {
            let number = sqlx::query_scalar(DRAW)
                .bind(group.as_str())
                .bind(topic)
                .bind(partition)
                .fetch_one(&self.pool)
                .instrument(db_span("INSERT", "consumer_epoch"))
                .await
                .map_err(StoreError)?;
            Ok(number)
        }
        .boxed()
    }
}

/// True when `epoch` is still its partition's newest; it then stays so until the caller's transaction ends. False
/// means that another owner has drawn since: write nothing, roll back, and answer with the code
/// `messaging.stale_epoch`. Call it before the write, in the same transaction.
///
/// # Errors
/// Whatever the database says; under repeatable read a draw in between is a serialization failure.
pub async fn check(conn: &mut PgConnection, epoch: &Epoch) -> Result<bool, sqlx::Error> {
    if sabotage::on(Switch::DropEpochCheck) {
        return Ok(true);
    }
    let newest: Option<i64> = sqlx::query_scalar(
        "select epoch from consumer_epoch \
         where consumer_group = $1 and topic = $2 and partition = $3 for share",
    )
    .bind(epoch.group.as_str())
    .bind(epoch.topic.as_str())
    .bind(epoch.partition)
    .fetch_optional(conn)
    .instrument(db_span("SELECT", "consumer_epoch"))
    .await?;
    Ok(newest == Some(epoch.number))
}

/// One partition's newest epoch, for an operator.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct EpochStatus {
    /// The group that owns.
    pub consumer_group: String,
    /// The partition's topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The newest number.
    pub epoch: i64,
    /// When it was drawn, by the database's clock.
    pub drawn_at: chrono::DateTime<chrono::Utc>,
}

/// All epochs of this database.
///
/// # Errors
/// Whatever the database says.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<EpochStatus>, StoreError> {
    let statement = "select consumer_group, topic, partition, epoch, drawn_at from consumer_epoch \
         order by consumer_group, topic, partition";
    Ok(sqlx::query_as(statement).fetch_all(conn).await?)
}

/// Raises the numbers of a group's partitions of one topic (or of one partition), so that every owner is refused at
/// its next write and proves anew that it is one. Numbers only rise: removing a row would let an old one pass again.
///
/// # Errors
/// Whatever the database says.
pub async fn reset(
    conn: &mut PgConnection,
    group: &str,
    topic: &str,
    partition: Option<i32>,
) -> Result<Vec<EpochStatus>, StoreError> {
    let statement = "update consumer_epoch set drawn_at = clock_timestamp(), epoch = \
             greatest(epoch + 1, (extract(epoch from clock_timestamp()) * 1000)::bigint) \
         where consumer_group = $1 and topic = $2 and ($3::int is null or partition = $3) \
         returning consumer_group, topic, partition, epoch, drawn_at";
    let raised = sqlx::query_as(statement).bind(group).bind(topic).bind(partition);
    Ok(raised.fetch_all(conn).await?)
}
