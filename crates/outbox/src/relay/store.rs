//! The relay's own session and its statements.
//!
//! These statements have no spans. They belong to no request: each look would be a trace of its own, one a second
//! and instance, and bury the real ones.

use std::time::Duration;

use millrace_envelope::TopicName;
use millrace_messaging::RawOutgoing;
use sqlx::postgres::PgConnectOptions;
use sqlx::types::Json;
use sqlx::{ConnectOptions as _, Connection as _, FromRow, PgConnection};
use uuid::Uuid;

use super::RelayError;
use super::holds::Ordering;
use crate::raw::{self, Unreadable};
use crate::record::BUCKETS;

/// The first half of the relays' advisory lock numbers («mrly»); the second half is the bucket.
const LOCK_CLASS: i32 = 0x6d72_6c79;
/// Held in shared mode by every relay, so that they can count each other.
const PRESENCE: i32 = 0x7fff_0000;
/// Counting a longer backlog exactly would cost more than the figure is worth.
const BACKLOG_COUNT_MAX: i64 = 100_000;

/// The window sums the stored sizes, without unpacking what is stored packed; rows beyond the bound never leave the
/// database. The first row of a bucket always passes, whatever its size.
const READ: &str = "select o.* from unnest($1::smallint[]) as b cross join lateral ( \
         select id, aggregateid, type, payload, topic, headers, ce_time, ce_actor, ce_tenant, \
             ce_correlationid, ce_causationid, traceparent, tracestate, baggage, bucket, seq, raw, set_aside \
         from ( \
             select *, (topic, aggregateid) in (select a.topic, a.aggregateid from outbox_aside as a) as set_aside, \
                 sum(pg_column_size(payload) + coalesce(pg_column_size(raw), 0)) \
                     over (order by seq rows unbounded preceding) \
                     - pg_column_size(payload) - coalesce(pg_column_size(raw), 0) as bytes_before \
             from outbox where bucket = b and seq <> all($6::bigint[]) and topic <> all($5::text[]) and not exists ( \
                 select from unnest($3::text[], $4::text[]) as held(topic, aggregateid) \
                 where held.topic = outbox.topic and held.aggregateid = outbox.aggregateid) \
             order by bucket, seq limit $2) as head \
         where bytes_before < $7 order by bucket, seq) as o limit $8";

/// One row, as it will be published.
#[derive(Debug, Clone, FromRow)]
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) aggregateid: String,
    #[sqlx(rename = "type")]
    pub(super) event_type: String,
    payload: String,
    topic: String,
    headers: Json<Vec<(String, String)>>,
    ce_time: String,
    ce_actor: Option<String>,
    ce_tenant: Option<String>,
    ce_correlationid: Option<String>,
    ce_causationid: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    baggage: Option<String>,
    pub(super) bucket: i16,
    pub(super) seq: i64,
    raw: Option<Vec<u8>>,
    /// Its aggregate is set aside; the row must not be published but moved.
    pub(super) set_aside: bool,
}

/// A row's message.
pub(super) enum Outgoing {
    /// Made from an event.
    Event(RawOutgoing),
    /// Passed on as it came, and larger than an event by what was added to it.
    Letter(RawOutgoing),
}

impl Row {
    pub(super) fn ordering(&self) -> Ordering {
        Ordering {
            topic: TopicName::from_stored(self.topic.clone()),
            aggregate_id: self.aggregateid.clone(),
        }
    }

    /// The message: the bytes of the payload column, and every header its envelope had; or what came raw.
    pub(super) fn into_record(self) -> Result<Outgoing, Unreadable> {
        if let Some(raw) = &self.raw {
            return raw::read(TopicName::from_stored(self.topic), raw).map(Outgoing::Letter);
        }
        let timestamp_ms = chrono::DateTime::parse_from_rfc3339(&self.ce_time)
            .ok()
            .map(|time| time.timestamp_millis());
        let columns = [
            ("ce_id", Some(self.id.to_string())),
            ("ce_type", Some(self.event_type)),
            ("ce_subject", Some(self.aggregateid.clone())),
            ("ce_time", Some(self.ce_time)),
            ("ce_actor", self.ce_actor),
            ("ce_tenant", self.ce_tenant),
            ("ce_correlationid", self.ce_correlationid),
            ("ce_causationid", self.ce_causationid),
            ("traceparent", self.traceparent),
            ("tracestate", self.tracestate),
            ("baggage", self.baggage),
        ];
        let columns =
            columns.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let headers = self.headers.0.into_iter().chain(columns);
        Ok(Outgoing::Event(RawOutgoing {
            topic: TopicName::from_stored(self.topic),
            key: Some(self.aggregateid.into_bytes()),
            payload: Some(self.payload.into_bytes()),
            headers: headers.map(|(name, value)| (name, Some(value.into_bytes()))).collect(),
            timestamp_ms,
        }))
    }
}

/// What one look at the table's size found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure {
    pub(super) backlog: i64,
    pub(super) oldest: Duration,
    pub(super) relays: i64,
    pub(super) set_aside: i64,
}

/// What one look returns at most, and what it must not return.
pub(super) struct Bounds {
    /// Rows that are on their way, by sequence number.
    pub(super) rows: Vec<i64>,
    pub(super) aggregates: Vec<Ordering>,
    pub(super) topics: Vec<TopicName>,
    /// Most rows of one bucket, and most bytes of its values beyond the first row.
    pub(super) rows_max: i64,
    pub(super) bytes_max: i64,
    /// Most rows of all buckets.
    pub(super) total_max: i64,
}

/// A database session that claims buckets. Dropping it closes the connection, which frees every claim.
#[derive(Debug)]
pub(super) struct Session {
    conn: PgConnection,
    claimed: Vec<i16>,
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

    /// Gives back every bucket except those in `keep`.
    pub(super) async fn release(&mut self, keep: &[i16]) -> Result<(), RelayError> {
        let (kept, freed): (Vec<i16>, Vec<i16>) =
            self.claimed.drain(..).partition(|bucket| keep.contains(bucket));
        self.claimed = kept;
        if freed.is_empty() {
            return Ok(());
        }
        sqlx::query("select pg_advisory_unlock($1, b::int) from unnest($2::smallint[]) as b")
            .bind(LOCK_CLASS)
            .bind(&freed)
            .execute(&mut self.conn)
            .await
            .map_err(lost("release buckets"))?;
        Ok(())
    }

    /// The first visible rows of each claimed bucket, in sequence, within the bounds.
    ///
    /// It always starts at the front of the bucket and leaves out what is on its way, by number. Starting behind the
    /// last row read would be cheaper and wrong: an older transaction may commit a row in front of it, and a later row
    /// of that row's aggregate would go first.
    pub(super) async fn read(&mut self, bounds: &Bounds) -> Result<Vec<Row>, RelayError> {
        let (topics, ids): (Vec<&str>, Vec<&str>) = bounds
            .aggregates
            .iter()
            .map(|ordering| (ordering.topic.as_str(), ordering.aggregate_id.as_str()))
            .unzip();
        sqlx::query_as(READ)
            .bind(&self.claimed)
            .bind(bounds.rows_max)
            .bind(topics)
            .bind(ids)
            .bind(bounds.topics.iter().map(TopicName::as_str).collect::<Vec<_>>())
            .bind(&bounds.rows)
            .bind(bounds.bytes_max)
            .bind(bounds.total_max)
            .fetch_all(&mut self.conn)
            .await
            .map_err(lost("read rows"))
    }

    /// Moves rows of aggregates that are set aside to where no relay reads. Holding their entries keeps a release
    /// from passing in between: a row whose entry is gone stays where it is.
    pub(super) async fn park(&mut self, rows: &[Row]) -> Result<(), RelayError> {
        let (buckets, seqs): (Vec<i16>, Vec<i64>) =
            rows.iter().map(|row| (row.bucket, row.seq)).unzip();
        let (topics, ids): (Vec<&str>, Vec<&str>) =
            rows.iter().map(|row| (row.topic.as_str(), row.aggregateid.as_str())).unzip();
        sqlx::query(
            "with entry as materialized ( \
                 select topic, aggregateid from outbox_aside as a where (a.topic, a.aggregateid) in \
                     (select t, i from unnest($3::text[], $4::text[]) as wanted(t, i)) for share) \
             update outbox set bucket = -1 - outbox.bucket \
             from unnest($1::smallint[], $2::bigint[]) as parked(bucket, seq), entry \
             where outbox.bucket = parked.bucket and outbox.seq = parked.seq \
                 and entry.topic = outbox.topic and entry.aggregateid = outbox.aggregateid",
        )
        .bind(buckets)
        .bind(seqs)
        .bind(topics)
        .bind(ids)
        .execute(&mut self.conn)
        .await
        .map_err(lost("move rows aside"))?;
        Ok(())
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

fn lost(step: &'static str) -> impl FnOnce(sqlx::Error) -> RelayError {
    move |source| RelayError::Session { step, source }
}
