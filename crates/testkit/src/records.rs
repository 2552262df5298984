//! Raw records in and out of a topic, for tests that look at bytes and headers or send broken ones.

use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::KafkaAccess;
use crate::stack::Stack;

const LIMIT: Duration = Duration::from_secs(10);

/// A record as it lies in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its timestamp in milliseconds.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Its headers in order, repeated ones included.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl RawRecord {
    /// The last header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_slice())
    }

    /// The last header of that name as text.
    #[must_use]
    pub fn header_text(&self, name: &str) -> Option<String> {
        self.header(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The value as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        self.payload
            .as_deref()
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
            .unwrap_or(serde_json::Value::Null)
    }

    fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map(|headers| {
            let pairs = headers.iter();
            pairs
                .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
                .collect()
        });
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
        }
    }
}

impl Stack {
    /// See [`KafkaAccess::records`].
    ///
    /// # Panics
    /// When the topic doesn't exist or can't be read.
    pub async fn records(&self, topic: &str) -> Vec<RawRecord> {
        self.access().records(topic).await
    }

    /// See [`KafkaAccess::committed_records`].
    ///
    /// # Panics
    /// When the topic doesn't exist or can't be read.
    pub async fn committed_records(&self, topic: &str) -> Vec<RawRecord> {
        self.access().committed_records(topic).await
    }

    /// See [`KafkaAccess::produce`].
    ///
    /// # Panics
    /// When Kafka refuses.
    pub async fn produce(
        &self,
        topic: &str,
        key: &[u8],
        payload: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> (i32, i64) {
        self.access().produce(topic, key, payload, headers).await
    }
}

impl KafkaAccess {
    /// Everything that lies in the topic now, partition by partition in order, records of aborted transactions included.
    /// `topic` is the full name. [`KafkaAccess::log`] shows what this can't: markers, and header names that are not UTF-8.
    ///
    /// # Panics
    /// When the topic doesn't exist or can't be read.
    pub async fn records(&self, topic: &str) -> Vec<RawRecord> {
        self.read(topic, "read_uncommitted").await
    }

    /// The same without records of transactions that were aborted or are open: what consumers see.
    ///
    /// # Panics
    /// When the topic doesn't exist or can't be read.
    pub async fn committed_records(&self, topic: &str) -> Vec<RawRecord> {
        self.read(topic, "read_committed").await
    }

    async fn read(&self, topic: &str, isolation: &'static str) -> Vec<RawRecord> {
        let (access, name) = (self.clone(), topic.to_owned());
        let read = tokio::task::spawn_blocking(move || read_all(&access, &name, isolation)).await;
        read.expect("the reader does not panic")
            .unwrap_or_else(|error| panic!("reading {topic}: {error:?}"))
    }

    /// Puts raw bytes on a topic and waits until they are there. `topic` is the full name.
    ///
    /// # Panics
    /// When Kafka refuses.
    pub async fn produce(
        &self,
        topic: &str,
        key: &[u8],
        payload: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> (i32, i64) {
        produce(self, topic, key, payload, headers)
            .await
            .unwrap_or_else(|error| panic!("producing to {topic}: {error:?}"))
    }
}

async fn produce(
    access: &KafkaAccess,
    topic: &str,
    key: &[u8],
    payload: Option<&[u8]>,
    headers: &[(&str, &[u8])],
) -> Result<(i32, i64)> {
    let producer: FutureProducer = access.client().create().context("creating a producer")?;
    let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (name, value)| {
        headers.insert(Header { key: name, value: Some(*value) })
    });
    let mut record = FutureRecord::to(topic).key(key).headers(headers);
    if let Some(payload) = payload {
        record = record.payload(payload);
    }
    let delivery = producer.send(record, LIMIT).await.map_err(|(error, _)| error)?;
    Ok((delivery.partition, delivery.offset))
}

fn read_all(access: &KafkaAccess, topic: &str, isolation: &str) -> Result<Vec<RawRecord>> {
    let mut config = access.client();
    // A group id is demanded by the library even where nothing is ever committed.
    config.set("group.id", "testkit-reader").set("enable.auto.commit", "false");
    // With end-of-partition the end is known even where only markers or compacted records lie before it.
    config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10");
    config.set("isolation.level", isolation);
    let consumer: BaseConsumer = config.create().context("creating a reader")?;
    let ends = ends(&consumer, topic)?;
    let mut assignment = TopicPartitionList::new();
    for (partition, low, high) in &ends {
        if high > low {
            assignment.add_partition_offset(topic, *partition, Offset::Offset(*low))?;
        }
    }
    consumer.assign(&assignment).context("assigning the topic")?;
    let mut records = read_to(&consumer, &ends)?;
    records.sort_by_key(|record| (record.partition, record.offset));
    Ok(records)
}

fn ends(consumer: &BaseConsumer, topic: &str) -> Result<Vec<(i32, i64, i64)>> {
    let metadata = consumer.fetch_metadata(Some(topic), LIMIT).context("asking for the topic")?;
    let found = metadata.topics().first().context("the broker knows no such topic")?;
    if let Some(error) = found.error() {
        anyhow::bail!("the broker refuses: {error:?}");
    }
    let partitions = found.partitions().iter().map(|partition| {
        let id = partition.id();
        let (low, high) = consumer.fetch_watermarks(topic, id, LIMIT)?;
        Ok((id, low, high))
    });
    partitions.collect()
}

fn read_to(consumer: &BaseConsumer, ends: &[(i32, i64, i64)]) -> Result<Vec<RawRecord>> {
    let mut records = Vec::new();
    let mut last: std::collections::BTreeMap<i32, i64> =
        ends.iter().filter(|(_, low, high)| high > low).map(|(id, _, high)| (*id, *high)).collect();
    let started = std::time::Instant::now();
    while !last.is_empty() {
        anyhow::ensure!(started.elapsed() < LIMIT, "the end of {last:?} was not reached");
        let record = match consumer.poll(Duration::from_millis(50)) {
            None => continue,
            Some(Ok(message)) => RawRecord::of(&message),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                last.remove(&partition);
                continue;
            }
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                anyhow::bail!("the reader ended: {code}")
            }
            // A broker that is away is told as an error, too; the reader goes on by itself, and the limit ends it.
            Some(Err(_)) => continue,
        };
        if last.get(&record.partition).is_some_and(|end| record.offset + 1 >= *end) {
            last.remove(&record.partition);
        }
        records.push(record);
    }
    Ok(records)
}
