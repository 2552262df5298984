//! Dead letters of consumers that have a database: outcome and letter in one commit, published by the relay.
//!
//! A letter that is published first and noted later is lost or doubled by a crash between the two; one that is noted
//! first and published later can be lost. Here the inbox row says `dead` and the outbox row carries the letter, in
//! one statement: after a crash there are both or neither. The inbox row is also the fence against a stale owner: who
//! finds the message handled or given up already changes nothing.
//!
//! The letter's aggregate is the key of the record it came from, so letters of one key reach the dead-letter
//! topic in the order in which they were given up.

use std::error::Error;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use millrace_messaging::{DeadLetter, DeadLetterStore};
use millrace_telemetry::db_span;
use sqlx::PgPool;
use tracing::Instrument as _;

use crate::record::bucket_of;
use crate::{RelayWaker, StoreError, raw};

/// What the columns `aggregatetype` and `type` of a dead letter's row say.
const KIND: &str = "dead_letter";

/// Longest text of a key that names the aggregate as it stands; a longer one is named by its hash.
const KEY_TEXT_BYTES_MAX: usize = 512;

const BURY: &str = "with given_up as ( \
         insert into inbox (message_id, consumer_group, outcome) values ($1, $2, 'dead') \
         on conflict do nothing returning message_id) \
     insert into outbox (id, aggregatetype, aggregateid, type, payload, topic, headers, ce_time, bucket, raw) \
     select message_id, $3, $4, $3, '', $5, '[]', '', $6, $7 from given_up";

/// Keeps the dead letters of one database's consumers. Cloning shares the pool.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    pool: PgPool,
    waker: Option<RelayWaker>,
}

impl DeadLetters {
    /// In the database of `pool`, whose relay finds them within its poll interval.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool, waker: None }
    }

    /// Wakes the relay of this process after each letter.
    #[must_use]
    pub fn waking(self, waker: RelayWaker) -> Self {
        Self { waker: Some(waker), ..self }
    }

    async fn keep(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        let aggregate = aggregate_of(letter);
        let kept = sqlx::query(BURY)
            .bind(letter.message_id)
            .bind(letter.group.as_str())
            .bind(KIND)
            .bind(&aggregate)
            .bind(letter.record.topic.as_str())
            .bind(bucket_of(&aggregate))
            .bind(raw::write(&letter.record))
            .execute(&self.pool)
            .instrument(db_span("INSERT", "inbox"))
            .await?;
        if let Some(waker) = self.waker.as_ref().filter(|_| kept.rows_affected() > 0) {
            waker.wake();
        }
        Ok(())
    }
}

impl DeadLetterStore for DeadLetters {
    fn bury(&self, letter: DeadLetter) -> BoxFuture<'_, Result<(), Box<dyn Error + Send + Sync>>> {
        async move { Ok(self.keep(&letter).await?) }.boxed()
    }
}

/// The origin's key as text. A key that PostgreSQL can't store as text, or a very long one, is named by its
/// bytes' digest; a record without key has no order to keep and is its own aggregate.
fn aggregate_of(letter: &DeadLetter) -> String {
    let Some(key) = &letter.record.key else {
        return letter.message_id.to_string();
    };
    match std::str::from_utf8(key) {
        Ok(text) if text.len() <= KEY_TEXT_BYTES_MAX && !text.contains('\0') => text.to_owned(),
        _ => crate::record::digest_text(key),
    }
}
