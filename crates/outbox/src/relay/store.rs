//! The relay's own session and its statements.
//!
//! These statements have no spans. They belong to no request: each look would be a trace of its own, one a second
//! and instance, and bury the real ones.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use super::RelayError;
use super::floors::PREPARED;
use super::holds::Ordering;
use super::read::Row;
use crate::record::BUCKETS;

/// The first half of the relays' advisory lock numbers («mrly»); the second half is the bucket.
const LOCK_CLASS: i32 = 0x6d72_6c79;
/// Held in shared mode by every relay, so that they can count each other.
const PRESENCE: i32 = 0x7fff_0000;
/// Counting a longer backlog exactly would cost more than the figure is worth.
const BACKLOG_COUNT_MAX: i64 = 100_000;

/// What one look at the table's size found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure {
    pub(super) backlog: i64,
    pub(super) oldest: Duration,
    pub(super) relays: i64,
    pub(super) set_aside: i64,
}

/// A database session that claims buckets. Dropping it closes the connection, which frees every claim.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) conn: PgConnection,
    pub(super) claimed: Vec<i16>,
}

impl Session {
    pub(super) async fn open(
        options: &PgConnectOptions,
        within: Duration,
    ) -> Result<Self, RelayError> {
        let mut conn = tokio::time::timeout(within, options.connect())
            .await
            .map_err(|_| RelayError::ConnectTimeout)?
            .map_err(RelayError::Connect)?;
        sqlx::query("select pg_advisory_lock_shared($1, $2)")
            .bind(LOCK_CLASS)
            .bind(PRESENCE)
            .execute(&mut conn)
            .await
            .map_err(lost("announce itself"))?;
        Ok(Self { conn, claimed: Vec::new() })
    }

    pub(super) fn claimed(&self) -> &[i16] {
        &self.claimed
    }

    /// Tries for every bucket that isn't claimed yet; returns true when another relay holds some.
    pub(super) async fn claim(&mut self) -> Result<bool, RelayError> {
        let wanted: Vec<i16> =
            (0..BUCKETS).filter(|bucket| !self.claimed.contains(bucket)).collect();
        if wanted.is_empty() {
            return Ok(false);
        }
        // A statement of its own: rows must be read with a snapshot taken after the claim, or rows that the
        // holder before us has just published and deleted would be seen once more.
        let granted: Vec<i16> = sqlx::query_scalar(
            "select b from unnest($2::smallint[]) as b where pg_try_advisory_lock($1, b::int)",
        )
        .bind(LOCK_CLASS)
        .bind(&wanted)
        .fetch_all(&mut self.conn)
        .await
        .map_err(lost("claim buckets"))?;
        let contended = granted.len() < wanted.len();
        self.claimed.extend(granted);
        Ok(contended)
    }

    /// Gives back every bucket except those in `keep`; returns which.
    pub(super) async fn release(&mut self, keep: &[i16]) -> Result<Vec<i16>, RelayError> {
        let (kept, freed): (Vec<i16>, Vec<i16>) =
            self.claimed.drain(..).partition(|bucket| keep.contains(bucket));
        self.claimed = kept;
        if freed.is_empty() {
            return Ok(freed);
        }
        sqlx::query("select pg_advisory_unlock($1, b::int) from unnest($2::smallint[]) as b")
            .bind(LOCK_CLASS)
            .bind(&freed)
            .execute(&mut self.conn)
            .await
            .map_err(lost("release buckets"))?;
        Ok(freed)
    }

    /// Moves rows of aggregates that are set aside to where no relay reads. Holding their entries keeps a release
    /// from passing in between: a row whose entry is gone stays where it is. Returns those that were moved.
    pub(super) async fn park(&mut self, rows: &[Row]) -> Result<Vec<(i16, i64)>, RelayError> {
        let (buckets, seqs): (Vec<i16>, Vec<i64>) =
            rows.iter().map(|row| (row.bucket, row.seq)).unzip();
        let (topics, ids): (Vec<&str>, Vec<&str>) =
            rows.iter().map(|row| (row.topic.as_str(), row.aggregateid.as_str())).unzip();
        sqlx::query_as(
            "with entry as materialized ( \
                 select topic, aggregateid from outbox_aside as a where (a.topic, a.aggregateid) in \
                     (select t, i from unnest($3::text[], $4::text[]) as wanted(t, i)) for share) \
             update outbox set bucket = -1 - outbox.bucket \
             from unnest($1::smallint[], $2::bigint[]) as parked(bucket, seq), entry \
             where outbox.bucket = parked.bucket and outbox.seq = parked.seq \
                 and entry.topic = outbox.topic and entry.aggregateid = outbox.aggregateid \
             returning parked.bucket, parked.seq",
        )
        .bind(buckets)
        .bind(seqs)
        .bind(topics)
        .bind(ids)
        .fetch_all(&mut self.conn)
        .await
        .map_err(lost("move rows aside"))
    }

    /// Writes down that an aggregate is set aside.
    pub(super) async fn set_aside(
        &mut self,
        ordering: &Ordering,
        failures: u32,
        reason: &str,
    ) -> Result<(), RelayError> {
        sqlx::query(
            "insert into outbox_aside (topic, aggregateid, failures, reason) values ($1, $2, $3, $4) \
             on conflict (topic, md5(aggregateid)) do update \
                 set failures = excluded.failures, reason = excluded.reason",
        )
        .bind(ordering.topic.as_str())
        .bind(&ordering.aggregate_id)
        .bind(i32::try_from(failures).unwrap_or(i32::MAX))
        .bind(reason)
        .execute(&mut self.conn)
        .await
        .map_err(lost("set an aggregate aside"))?;
        Ok(())
    }

    /// Deletes what the broker acknowledged; bounded by what was read.
    pub(super) async fn delete(&mut self, rows: &[(i16, i64)]) -> Result<(), RelayError> {
        let (buckets, seqs): (Vec<i16>, Vec<i64>) = rows.iter().copied().unzip();
        sqlx::query(
            "delete from outbox using unnest($1::smallint[], $2::bigint[]) as done(bucket, seq) \
             where outbox.bucket = done.bucket and outbox.seq = done.seq",
        )
        .bind(buckets)
        .bind(seqs)
        .execute(&mut self.conn)
        .await
        .map_err(lost("delete published rows"))?;
        Ok(())
    }

    /// The open transactions of others that may have drawn sequence numbers: each locks the table before it draws the
    /// first one, until its rows are visible.
    pub(super) async fn writers(&mut self) -> Result<HashSet<String>, RelayError> {
        let found: Vec<String> = sqlx::query_scalar(
            "select case when pid is null then $1 else virtualtransaction end from pg_locks \
             where locktype = 'relation' and relation = 'outbox'::regclass and mode = 'RowExclusiveLock' \
                 and database = (select oid from pg_database where datname = current_database()) \
                 and pid is distinct from pg_backend_pid()",
        )
        .bind(PREPARED)
        .fetch_all(&mut self.conn)
        .await
        .map_err(lost("ask who writes"))?;
        Ok(found.into_iter().collect())
    }

    /// False when sequence numbers may be drawn in another order than that in which they rise.
    pub(super) async fn draws_in_order(&mut self) -> Result<bool, RelayError> {
        sqlx::query_scalar(
            "select coalesce(bool_and(seqcache = 1 and seqincrement > 0 and not seqcycle), false) from pg_sequence \
             where seqrelid = pg_get_serial_sequence('outbox', 'seq')::regclass",
        )
        .fetch_one(&mut self.conn)
        .await
        .map_err(lost("look at its sequence"))
    }

    /// Backlog, age and number of relays.
    pub(super) async fn measure(&mut self) -> Result<Measure, RelayError> {
        let (backlog, oldest, relays, set_aside): (i64, f64, i64, i64) = sqlx::query_as(
            "select (select count(*) from (select from outbox where bucket >= 0 limit $1) as counted), \
                 coalesce((select extract(epoch from clock_timestamp() - min(head.created_at)) \
                     from generate_series(0, $2::int - 1) as b cross join lateral ( \
                         select created_at from outbox where bucket = b order by bucket, seq limit 1) as head), \
                     0)::float8, \
                 (select count(*) from pg_locks where locktype = 'advisory' and classid = $3::int::oid \
                     and objid = $4::int::oid and objsubid = 2 \
                     and database = (select oid from pg_database where datname = current_database())), \
                 (select count(*) from outbox_aside)",
        )
        .bind(BACKLOG_COUNT_MAX)
        .bind(i32::from(BUCKETS))
        .bind(LOCK_CLASS)
        .bind(PRESENCE)
        .fetch_one(&mut self.conn)
        .await
        .map_err(lost("measure the backlog"))?;
        let oldest = Duration::try_from_secs_f64(oldest).unwrap_or_default();
        Ok(Measure { backlog, oldest, relays, set_aside })
    }

    /// Fails when the session is gone, and with it the claims.
    pub(super) async fn ping(&mut self) -> Result<(), RelayError> {
        self.conn.ping().await.map_err(lost("keep its session"))
    }

    /// Says goodbye; errors don't matter any more.
    pub(super) async fn close(self) {
        if let Err(error) = self.conn.close().await {
            tracing::debug!(%error, "the relay's session was gone already");
        }
    }
}

pub(super) fn lost(step: &'static str) -> impl FnOnce(sqlx::Error) -> RelayError {
    move |source| RelayError::Session { step, source }
}
