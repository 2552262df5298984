//! Putting records into the outbox: by [`append`], or inside a store's own statement.
//!
//! A store that wants its state and its events in one statement takes the fragment [`crate::outbox_insert!`] and binds
//! one parameter, [`OutboxRows`]. The rows travel as one JSON text and not as sixteen arrays, so that a store
//! doesn't count parameters and a new column here changes no statement elsewhere.
//!
//! Order: rows of one aggregate get their sequence numbers in the order of the records. Across transactions
//! that holds only if the aggregate's own row is locked (inserted, updated, selected for update) *before* the
//! outbox rows are written; a store that appends first and locks later may publish event 2 before event 1.

use millrace_telemetry::db_span;
use serde::Serialize;
use sqlx::PgConnection;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::OutboxRecord;

/// The `insert into outbox ...` fragment of a store's own statement, for a common table expression.
///
/// The argument is the placeholder that [`OutboxRows::as_text`] is bound to. The fragment is a string literal,
/// so `concat!` takes it:
///
/// ```
/// # use millrace_outbox::outbox_insert;
/// const PLACE: &str = concat!(
///     "with placed as (insert into orders (id) values ($1) returning id), ",
///     "published as (", outbox_insert!("$2"), ") ",
///     "select id from placed"
/// );
/// assert!(PLACE.contains("$2::text::json"));
/// ```
#[macro_export]
macro_rules! outbox_insert {
    ($placeholder:literal) => {
        concat!(
            "insert into outbox (id, aggregatetype, aggregateid, type, payload, topic, headers, ce_time, ",
            "ce_actor, ce_tenant, ce_correlationid, ce_causationid, traceparent, tracestate, baggage, bucket) ",
            "select id, aggregatetype, aggregateid, type, payload, topic, headers, ce_time, ",
            "ce_actor, ce_tenant, ce_correlationid, ce_causationid, traceparent, tracestate, baggage, bucket ",
            "from json_to_recordset(",
            $placeholder,
            "::text::json) as r(id uuid, aggregatetype text, aggregateid text, type text, payload text, ",
            "topic text, headers jsonb, ce_time text, ce_actor text, ce_tenant text, ce_correlationid text, ",
            "ce_causationid text, traceparent text, tracestate text, baggage text, bucket smallint)"
        )
    };
}

/// Records in the form that [`crate::outbox_insert!`] reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRows(String);

impl OutboxRows {
    /// The records in their order.
    #[must_use]
    pub fn of(records: &[OutboxRecord]) -> Self {
        let rows: Vec<Row<'_>> = records.iter().map(Row::of).collect();
        Self(serde_json::to_string(&rows).expect("texts, a uuid and a number are always JSON"))
    }

    /// The one parameter to bind.
    #[must_use]
    pub fn as_text(&self) -> &str {
        &self.0
    }
}

impl From<&[OutboxRecord]> for OutboxRows {
    fn from(records: &[OutboxRecord]) -> Self {
        Self::of(records)
    }
}

/// Writes the records in the caller's transaction.
///
/// # Errors
/// Whatever the database says; nothing here is expected to be refused.
pub async fn append(conn: &mut PgConnection, records: &[OutboxRecord]) -> Result<(), sqlx::Error> {
    if records.is_empty() {
        return Ok(());
    }
    let rows = OutboxRows::of(records);
    sqlx::query(outbox_insert!("$1"))
        .bind(rows.as_text())
        .execute(conn)
        .instrument(db_span("INSERT", "outbox"))
        .await?;
    Ok(())
}

/// The table's columns; an absent text is a null.
#[derive(Serialize)]
struct Row<'a> {
    id: Uuid,
    aggregatetype: &'a str,
    aggregateid: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    payload: &'a str,
    topic: &'a str,
    headers: &'a [(String, String)],
    ce_time: &'a str,
    ce_actor: Option<&'a str>,
    ce_tenant: Option<&'a str>,
    ce_correlationid: Option<&'a str>,
    ce_causationid: Option<&'a str>,
    traceparent: Option<&'a str>,
    tracestate: Option<&'a str>,
    baggage: Option<&'a str>,
    bucket: i16,
}

impl<'a> Row<'a> {
    fn of(record: &'a OutboxRecord) -> Self {
        let column = |name: &str| record.columns.get(name);
        Self {
            id: record.id,
            aggregatetype: record.aggregate_type,
            aggregateid: &record.aggregate_id,
            event_type: record.event_type,
            payload: &record.payload,
            topic: record.topic.as_str(),
            headers: &record.headers,
            ce_time: column("ce_time").unwrap_or_default(),
            ce_actor: column("ce_actor"),
            ce_tenant: column("ce_tenant"),
            ce_correlationid: column("ce_correlationid"),
            ce_causationid: column("ce_causationid"),
            traceparent: column("traceparent"),
            tracestate: column("tracestate"),
            baggage: column("baggage"),
            bucket: record.bucket,
        }
    }
}
