//! The statement that finds what to publish next, and the rows it finds.

use millrace_envelope::TopicName;
use millrace_messaging::RawOutgoing;
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::RelayError;
use super::floors::Floors;
use super::holds::Ordering;
use super::store::{Session, lost};
use crate::raw::{self, Unreadable};

/// The window sums the stored sizes, without unpacking what is stored packed; rows beyond the bound never leave the
/// database. The first row of a bucket always passes, whatever its size.
///
/// What is left out is asked for as «not in (select ...)», which is looked up in a hash table, whatever the planner
/// thinks it knows. Compared with an array as such, some thousand numbers make it expect one row, and then it reads and
/// sorts the whole bucket to find it.
const READ: &str = "select o.*, (select coalesce(max(releases), 0) from outbox_release) as releases \
     from unnest($1::smallint[], $2::bigint[]) as claimed(bucket, floor) cross join lateral ( \
         select id, aggregateid, type, payload, topic, headers, ce_time, ce_actor, ce_tenant, \
             ce_correlationid, ce_causationid, traceparent, tracestate, baggage, bucket, seq, raw, set_aside \
         from ( \
             select *, (topic, aggregateid) in (select a.topic, a.aggregateid from outbox_aside as a) as set_aside, \
                 sum(pg_column_size(payload) + coalesce(pg_column_size(raw), 0)) \
                     over (order by seq rows unbounded preceding) \
                     - pg_column_size(payload) - coalesce(pg_column_size(raw), 0) as bytes_before \
             from outbox where bucket = claimed.bucket \
                 and seq > case when (select max(releases) from outbox_release) = $3 then claimed.floor \
                     else '-9223372036854775808'::bigint end \
                 and seq not in (select unnest($4::bigint[])) and topic <> all($5::text[]) \
                 and (topic, aggregateid) not in ( \
                     select held.topic, held.aggregateid from unnest($6::text[], $7::text[]) as held(topic, aggregateid)) \
             order by bucket, seq limit $8) as head \
         where bytes_before < $9 order by bucket, seq) as o limit $10";

/// One row, as it will be published.
#[derive(Debug, Clone, FromRow)]
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) aggregateid: String,
    #[sqlx(rename = "type")]
    pub(super) event_type: String,
    payload: String,
    pub(super) topic: String,
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
    /// How many releases there had been when it was read.
    pub(super) releases: i64,
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

impl Session {
    /// The first visible rows of each claimed bucket behind its floor, in sequence, within the bounds.
    ///
    /// It leaves out what is on its way by number. Starting behind the last row read would be cheaper and wrong: an
    /// older transaction may commit a row in front of it, and a later row of that row's aggregate would go first.
    pub(super) async fn read(
        &mut self,
        bounds: &Bounds,
        floors: &Floors,
    ) -> Result<Vec<Row>, RelayError> {
        let (topics, ids): (Vec<&str>, Vec<&str>) = bounds
            .aggregates
            .iter()
            .map(|ordering| (ordering.topic.as_str(), ordering.aggregate_id.as_str()))
            .unzip();
        let behind: Vec<i64> = self.claimed.iter().map(|bucket| floors.of(*bucket)).collect();
        sqlx::query_as(READ)
            .bind(&self.claimed)
            .bind(behind)
            .bind(floors.releases())
            .bind(&bounds.rows)
            .bind(bounds.topics.iter().map(TopicName::as_str).collect::<Vec<_>>())
            .bind(topics)
            .bind(ids)
            .bind(bounds.rows_max)
            .bind(bounds.bytes_max)
            .bind(bounds.total_max)
            .fetch_all(&mut self.conn)
            .await
            .map_err(lost("read rows"))
    }
}
