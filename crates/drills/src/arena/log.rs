//! A topic from its first to its last record, as a reader of committed records sees it.
//!
//! The test kit's reader shows aborted records too; whoever checks transactions must not see them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use millrace_testkit::kafka;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;
use uuid::Uuid;

use crate::parcel::ID_HEADER;

const ASK_LIMIT: Duration = Duration::from_secs(10);
/// A transaction that a killed process left open ends only at its time-out, and until then hides what follows.
const READ_LIMIT: Duration = Duration::from_secs(60);

/// A record of a topic.
#[derive(Debug, Clone)]
pub(super) struct Logged {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// The id that stands in its header, or in its value.
    pub(super) id: Option<Uuid>,
}

/// Reads the topic, given by its full name.
pub(super) async fn read(port: u16, topic: String) -> Result<Vec<Logged>> {
    let read = tokio::task::spawn_blocking(move || {
        read_blocking(port, &topic).with_context(|| format!("reading {topic}"))
    });
    read.await.context("the reader panicked")?
}

fn read_blocking(port: u16, topic: &str) -> Result<Vec<Logged>> {
    let mut config = kafka::client(port);
    // A group id is demanded by the library even where nothing is ever committed.
    config.set("group.id", "drill-reader").set("enable.auto.commit", "false");
    config.set("fetch.wait.max.ms", "10").set("isolation.level", "read_committed");
    let consumer: BaseConsumer = config.create().context("creating a reader")?;
    let metadata =
        consumer.fetch_metadata(Some(topic), ASK_LIMIT).context("asking for the topic")?;
    let known = metadata.topics().first().context("the broker knows no such topic")?;
    let mut ends = Vec::new();
    let mut assignment = TopicPartitionList::new();
    for partition in known.partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), ASK_LIMIT)?;
        if high > low {
            assignment.add_partition_offset(topic, partition.id(), Offset::Offset(low))?;
            ends.push((partition.id(), high));
        }
    }
    consumer.assign(&assignment).context("assigning the topic")?;
    let started = Instant::now();
    let mut records = Vec::new();
    while !reached(&consumer, &ends)? {
        anyhow::ensure!(started.elapsed() < READ_LIMIT, "the ends {ends:?} were not reached");
        match consumer.poll(Duration::from_millis(20)) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => return Err(error).context("reading a record"),
            Some(Ok(message)) => records.push(Logged {
                partition: message.partition(),
                offset: message.offset(),
                id: id_of(&message),
            }),
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    // The position may be reported past a record that the queue still holds; nothing is read twice all the same.
    let places: BTreeSet<(i32, i64)> = records.iter().map(|r| (r.partition, r.offset)).collect();
    anyhow::ensure!(places.len() == records.len(), "a place was read twice");
    Ok(records)
}

/// True when the reader's position has passed all ends; markers and aborted records have no record to see.
fn reached(consumer: &BaseConsumer, ends: &[(i32, i64)]) -> Result<bool> {
    let position = consumer.position().context("asking for the position")?;
    let at = |partition: i32| {
        position.elements().into_iter().find(|e| e.partition() == partition).map(|e| e.offset())
    };
    Ok(ends.iter().all(
        |(partition, end)| matches!(at(*partition), Some(Offset::Offset(next)) if next >= *end),
    ))
}

#[derive(Deserialize)]
struct Identified {
    id: Uuid,
}

/// Letters keep the headers of their record.
fn id_of(message: &BorrowedMessage<'_>) -> Option<Uuid> {
    let header = message.headers().and_then(|headers| {
        let own = headers.iter().find(|header| header.key == ID_HEADER)?;
        Uuid::try_parse_ascii(own.value?).ok()
    });
    header.or_else(|| {
        let envelope = serde_json::from_slice::<Identified>(message.payload()?).ok()?;
        Some(envelope.id)
    })
}
