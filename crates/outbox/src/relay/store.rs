//! The relay's own session and its statements.
//!
//! These statements have no spans. They belong to no request: each look would be a trace of its own, one a second
//! and instance, and bury the real ones.

use std::time::Duration;

use millrace_envelope::{EncodedRecord, TopicName};
use sqlx::postgres::PgConnectOptions;
use sqlx::types::Json;
use sqlx::{ConnectOptions as _, Connection as _, FromRow, PgConnection};
use uuid::Uuid;

use super::RelayError;
use super::holds::Ordering;
use crate::record::BUCKETS;

/// The first half of the relays' advisory lock numbers («mrly»); the second half is the bucket.
const LOCK_CLASS: i32 = 0x6d72_6c79;
/// Held in shared mode by every relay, so that they can count each other.
const PRESENCE: i32 = 0x7fff_0000;
/// Counting a longer backlog exactly would cost more than the figure is worth.
const BACKLOG_COUNT_MAX: i64 = 100_000;

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
}

impl Row {
    pub(super) fn ordering(&self) -> Ordering {
        Ordering {
            topic: TopicName::from_stored(self.topic.clone()),
            aggregate_id: self.aggregateid.clone(),
        }
    }

    /// The message: the bytes of the payload column, and every header its envelope had.
    pub(super) fn into_record(self) -> EncodedRecord {
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
        EncodedRecord {
            topic: TopicName::from_stored(self.topic),
            key: self.aggregateid.into_bytes(),
            payload: Some(self.payload.into_bytes()),
            headers: headers.map(|(name, value)| (name, value.into_bytes())).collect(),
            timestamp_ms,
        }
    }
}

/// What one look at the table's size found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measure {
    pub(super) backlog: i64,
    pub(super) oldest: Duration,
    pub(super) relays: i64,
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

    /// The first visible rows of each claimed bucket, in sequence, without the aggregates and topics to leave
    /// alone.
    pub(super) async fn read(
        &mut self,
        per_bucket_max: u16,
        except: &[Ordering],
        except_topics: &[TopicName],
    ) -> Result<Vec<Row>, RelayError> {
        let (topics, ids): (Vec<&str>, Vec<&str>) = except
            .iter()
            .map(|ordering| (ordering.topic.as_str(), ordering.aggregate_id.as_str()))
            .unzip();
        sqlx::query_as(
            "select o.* from unnest($1::smallint[]) as b cross join lateral ( \
                 select id, aggregateid, type, payload, topic, headers, ce_time, ce_actor, ce_tenant, \
                     ce_correlationid, ce_causationid, traceparent, tracestate, baggage, bucket, seq \
                 from outbox where bucket = b and topic <> all($5::text[]) and not exists ( \
                     select from unnest($3::text[], $4::text[]) as held(topic, aggregateid) \
                     where held.topic = outbox.topic and held.aggregateid = outbox.aggregateid) \
                 order by bucket, seq limit $2) as o",
        )
        .bind(&self.claimed)
        .bind(i64::from(per_bucket_max))
        .bind(topics)
        .bind(ids)
        .bind(except_topics.iter().map(TopicName::as_str).collect::<Vec<_>>())
        .fetch_all(&mut self.conn)
        .await
        .map_err(lost("read rows"))
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
        let (backlog, oldest, relays): (i64, f64, i64) = sqlx::query_as(
            "select (select count(*) from (select from outbox limit $1) as counted), \
                 coalesce((select extract(epoch from clock_timestamp() - min(head.created_at)) \
                     from generate_series(0, $2::int - 1) as b cross join lateral ( \
                         select created_at from outbox where bucket = b order by bucket, seq limit 1) as head), \
                     0)::float8, \
                 (select count(*) from pg_locks where locktype = 'advisory' and classid = $3::int::oid \
                     and objid = $4::int::oid and objsubid = 2 \
                     and database = (select oid from pg_database where datname = current_database()))",
        )
        .bind(BACKLOG_COUNT_MAX)
        .bind(i32::from(BUCKETS))
        .bind(LOCK_CLASS)
        .bind(PRESENCE)
        .fetch_one(&mut self.conn)
        .await
        .map_err(lost("measure the backlog"))?;
        let oldest = Duration::try_from_secs_f64(oldest).unwrap_or_default();
        Ok(Measure { backlog, oldest, relays })
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
