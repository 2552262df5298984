//! The bare way from the outbox to the broker: read, send, wait for the answers, delete, again.
//!
//! The rows of all buckets are read by the same key and deleted by it, as the relay does. What it leaves out is what
//! makes a relay safe to run: no claim, so only one may run; no order beyond the table's; one bad row stops it.

use std::time::Duration;

use anyhow::{Context, Result};
use millrace_common::messaging::KafkaSettings;
use sqlx::postgres::PgConnection;
use sqlx::types::Json;
use sqlx::{Connection as _, FromRow};
use tokio::sync::Notify;

use crate::bare::{self, BareMessage, BareProducer, Deliveries};

/// Rows of one bucket that are read at once; with sixteen buckets four thousand rows a turn.
const BUCKET_ROWS: i64 = 256;
/// The safety net behind the wake-up, as the relay's.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, FromRow)]
struct Row {
    id: uuid::Uuid,
    aggregateid: String,
    #[sqlx(rename = "type")]
    event_type: String,
    payload: String,
    headers: Json<Vec<(String, String)>>,
    ce_time: String,
    ce_actor: Option<String>,
    ce_correlationid: Option<String>,
    traceparent: Option<String>,
    bucket: i16,
    seq: i64,
}

impl Row {
    /// The same headers as the relay's records have.
    fn headers(&self) -> Vec<(String, Vec<u8>)> {
        let columns = [
            ("ce_id", Some(self.id.to_string())),
            ("ce_type", Some(self.event_type.clone())),
            ("ce_subject", Some(self.aggregateid.clone())),
            ("ce_time", Some(self.ce_time.clone())),
            ("ce_actor", self.ce_actor.clone()),
            ("ce_correlationid", self.ce_correlationid.clone()),
            ("traceparent", self.traceparent.clone()),
        ];
        let named = columns.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        let all = self.headers.0.iter().cloned().chain(named);
        all.map(|(name, value)| (name, value.into_bytes())).collect()
    }
}

/// One poller; there must be no other.
pub(crate) struct Poller {
    connection: PgConnection,
    producer: BareProducer,
    deliveries: Deliveries,
    topic: String,
    sent: u64,
}

impl Poller {
    pub(crate) async fn open(
        settings: &KafkaSettings,
        topic: String,
        database_url: &str,
    ) -> Result<Self> {
        let mut connection = PgConnection::connect(database_url).await.context("connecting")?;
        // As the relay's session: a plan made over an empty table must not scan it when it is full.
        sqlx::query("set enable_seqscan = off").execute(&mut connection).await?;
        let (producer, deliveries) = bare::threaded_producer(settings)?;
        Ok(Self { connection, producer, deliveries, topic, sent: 0 })
    }

    /// Carries what is there, at most [`BUCKET_ROWS`] of each bucket; returns how many rows.
    pub(crate) async fn turn(&mut self) -> Result<u64> {
        let rows: Vec<Row> = sqlx::query_as(
            "select o.* from generate_series(0, 15) as b cross join lateral ( \
                 select id, aggregateid, type, payload, headers, ce_time, ce_actor, ce_correlationid, \
                     traceparent, bucket, seq \
                 from outbox where bucket = b order by bucket, seq limit $1) as o",
        )
        .bind(BUCKET_ROWS)
        .fetch_all(&mut self.connection)
        .await
        .context("reading rows")?;
        for row in &rows {
            let headers = row.headers();
            let message = BareMessage {
                topic: &self.topic,
                key: row.aggregateid.as_bytes(),
                value: row.payload.as_bytes(),
                headers: &headers,
            };
            bare::send(&self.producer, message).await?;
        }
        let read = rows.len() as u64;
        self.sent += read;
        self.deliveries.answered(self.sent).await;
        anyhow::ensure!(self.deliveries.failed() == 0, "a row was not acknowledged");
        if read > 0 {
            let keys = rows.iter().map(|row| (row.bucket, row.seq));
            let (buckets, seqs): (Vec<i16>, Vec<i64>) = keys.unzip();
            sqlx::query(
                "delete from outbox using unnest($1::smallint[], $2::bigint[]) as done(bucket, seq) \
                 where outbox.bucket = done.bucket and outbox.seq = done.seq",
            )
            .bind(buckets)
            .bind(seqs)
            .execute(&mut self.connection)
            .await
            .context("deleting rows")?;
        }
        Ok(read)
    }

    /// Carries until it is dropped; woken after commits.
    pub(crate) async fn run(mut self, wake: &Notify) -> Result<()> {
        loop {
            if self.turn().await? == 0 {
                tokio::select! {
                    () = wake.notified() => {}
                    () = tokio::time::sleep(POLL_INTERVAL) => {}
                }
            }
        }
    }
}
