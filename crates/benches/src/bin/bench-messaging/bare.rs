//! The plain client: what everything here is measured against.
//!
//! It acknowledges, batches and fetches as the product's clients do, and does nothing else: no group, no commit, no
//! decoding, no span, no metric. A bare side that fetched less or waited longer would make the product look better.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use millrace_common::messaging::KafkaSettings;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, FutureProducer, Producer as _, ProducerContext, ThreadedProducer,
};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use tokio::sync::Notify;

use crate::job::Fetch;
use crate::ledger::Sink;
use crate::records::{Form, enveloped, raw_numbers};

const METADATA_LIMIT: Duration = Duration::from_secs(10);
const FLUSH_LIMIT: Duration = Duration::from_secs(60);
/// How long a full queue is given to make room.
const QUEUE_WAIT: Duration = Duration::from_millis(1);

#[expect(clippy::disallowed_methods, reason = "a bare client beside the one that is measured")]
fn client(settings: &KafkaSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.brokers).set("log_level", "3");
    config.set("reconnect.backoff.ms", "100").set("reconnect.backoff.max.ms", "1000");
    config.set("socket.timeout.ms", settings.request_timeout.as_millis().to_string());
    config
}

/// A consumer of all partitions from their beginning.
pub(crate) fn consumer(
    settings: &KafkaSettings,
    topic: &str,
    fetch: Fetch,
) -> Result<StreamConsumer> {
    let mut config = client(settings);
    config
        .set("group.id", "bench-bare")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("isolation.level", "read_committed");
    if fetch == Fetch::AsProduct {
        let bytes = settings.fetch_queue_bytes_max.as_u64();
        config
            .set("queued.min.messages", settings.in_flight_records_max.to_string())
            .set("queued.max.messages.kbytes", (bytes / 1024).to_string())
            .set("fetch.max.bytes", bytes.to_string())
            .set("fetch.queue.backoff.ms", "20")
            .set("receive.message.max.bytes", (bytes.max(100_000_000) + 1024).to_string());
    }
    let consumer: StreamConsumer = config.create().context("creating a consumer")?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..partition_count(&consumer, topic)? {
        partitions.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&partitions).context("assigning partitions")?;
    Ok(consumer)
}

/// A client that may ask what a group has committed; it joins nothing.
pub(crate) fn member_of(settings: &KafkaSettings, group: &str) -> Result<BaseConsumer> {
    client(settings).set("group.id", group).create().context("creating a client")
}

/// The group's committed offsets of all partitions together. Blocks.
pub(crate) fn committed(consumer: &BaseConsumer, topic: &str) -> Result<u64> {
    let mut asked = TopicPartitionList::new();
    for partition in 0..partition_count(consumer, topic)? {
        asked.add_partition(topic, partition);
    }
    let found = consumer
        .committed_offsets(asked, METADATA_LIMIT)
        .context("asking for committed offsets")?;
    let offsets = found.elements().into_iter().map(|element| element.offset().to_raw());
    // What was never committed stands below zero.
    Ok(offsets.filter_map(|offset| u64::try_from(offset?).ok()).sum())
}

fn partition_count<X: ConsumerContext, C: Consumer<X>>(consumer: &C, topic: &str) -> Result<i32> {
    let metadata = consumer
        .fetch_metadata(Some(topic), METADATA_LIMIT)
        .with_context(|| format!("asking for {topic}"))?;
    let found = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    ensure!(found > 0, "{topic} has no partitions");
    i32::try_from(found).context("counting partitions")
}

/// Hands every record to the sink, one after the other, until it is dropped.
pub(crate) async fn consume(consumer: &StreamConsumer, form: Form, sink: &impl Sink) -> Result<()> {
    loop {
        let record = consumer.recv().await.context("receiving a record")?;
        let value = record.payload().unwrap_or_default();
        let numbers = match form {
            Form::Raw => raw_numbers(value),
            Form::Enveloped => enveloped_numbers(value),
        };
        sink.enter(record.partition(), numbers);
        sink.handled(1);
    }
}

/// Where key and number stand in an envelope: everything before them has the same length in each.
static PLACES: LazyLock<Option<(usize, usize)>> = LazyLock::new(|| {
    let sample = enveloped(0, 1, SAMPLE_TIME_MS).ok()?.payload?;
    let behind = |label: &[u8]| {
        let at = sample.windows(label.len()).rposition(|window| window == label)?;
        Some(at + label.len())
    };
    Some((behind(KEY)?, behind(NUMBER)?))
});
const KEY: &[u8] = br#""key":"k"#;
const NUMBER: &[u8] = br#""number":"#;
/// Any time with as many digits as now.
const SAMPLE_TIME_MS: i64 = 1_763_726_400_000;

/// Key and number out of an envelope's bytes without reading the JSON.
fn enveloped_numbers(value: &[u8]) -> Result<(u32, u32)> {
    let digits = |at: usize, label: &[u8]| {
        let (before, behind) = value.split_at_checked(at)?;
        before.ends_with(label).then(|| {
            let digits = behind.iter().take_while(|byte| byte.is_ascii_digit());
            digits.fold(0_u32, |sum, digit| {
                sum.wrapping_mul(10).wrapping_add(u32::from(digit - b'0'))
            })
        })
    };
    let (key_at, number_at) = PLACES.context("an envelope's form has changed")?;
    let key = digits(key_at, KEY).context("no key where it was")?;
    Ok((key, digits(number_at, NUMBER).context("no number where it was")?))
}

/// The producers' configuration, as the product's durable profile has it.
fn producing(settings: &KafkaSettings) -> ClientConfig {
    let mut config = client(settings);
    config
        .set("partitioner", "murmur2_random")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", settings.linger.as_millis().to_string())
        .set("message.timeout.ms", settings.publish_timeout.as_millis().to_string())
        .set("queue.buffering.max.messages", settings.queue_records_max.to_string())
        .set("queue.buffering.max.kbytes", (settings.queue_bytes_max.as_u64() / 1024).to_string());
    config
}

/// Counts what was acknowledged and what failed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deliveries(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
    /// Whoever waits is woken at this count, not at each answer.
    awaited: AtomicU64,
    reached: Notify,
}

impl Deliveries {
    pub(crate) fn acknowledged(&self) -> u64 {
        self.0.answered.load(Ordering::SeqCst).saturating_sub(self.failed())
    }

    pub(crate) fn failed(&self) -> u64 {
        self.0.failed.load(Ordering::SeqCst)
    }

    /// Waits until so many were answered in all; for one waiter.
    pub(crate) async fn answered(&self, count: u64) {
        self.0.awaited.store(count, Ordering::SeqCst);
        while self.0.answered.load(Ordering::SeqCst) < count {
            self.0.reached.notified().await;
        }
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.failed.fetch_add(1, Ordering::SeqCst);
        }
        let answered = self.0.answered.fetch_add(1, Ordering::SeqCst) + 1;
        if answered == self.0.awaited.load(Ordering::SeqCst) {
            self.0.reached.notify_one();
        }
    }
}

pub(crate) type BareProducer = ThreadedProducer<Deliveries>;

pub(crate) fn threaded_producer(settings: &KafkaSettings) -> Result<(BareProducer, Deliveries)> {
    let deliveries = Deliveries::default();
    Ok((producer_with(settings, deliveries.clone())?, deliveries))
}

/// A producer that tells its answers to `context`.
pub(crate) fn producer_with<C>(settings: &KafkaSettings, context: C) -> Result<ThreadedProducer<C>>
where
    C: ProducerContext<DeliveryOpaque = ()>,
{
    producing(settings).create_with_context(context).context("creating a producer")
}

pub(crate) fn future_producer(settings: &KafkaSettings) -> Result<FutureProducer> {
    producing(settings).create().context("creating a producer")
}

/// A message of the bare side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BareMessage<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) headers: &'a [(String, Vec<u8>)],
}

/// The client takes headers by value, so they are made for each message.
pub(crate) fn owned_headers(headers: &[(String, Vec<u8>)]) -> OwnedHeaders {
    let room = OwnedHeaders::new_with_capacity(headers.len());
    headers.iter().fold(room, |all, (key, value)| all.insert(Header { key, value: Some(value) }))
}

/// Sends without waiting for the answer; only a full queue is waited for.
pub(crate) async fn send<C>(producer: &ThreadedProducer<C>, message: BareMessage<'_>) -> Result<()>
where
    C: ProducerContext<DeliveryOpaque = ()>,
{
    let mut record = BaseRecord::to(message.topic).key(message.key).payload(message.value);
    if !message.headers.is_empty() {
        record = record.headers(owned_headers(message.headers));
    }
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                tokio::time::sleep(QUEUE_WAIT).await;
            }
            Err((error, _)) => return Err(error).context("producing a record"),
        }
    }
}

/// Waits for all answers, and fails unless all `sent` records were acknowledged.
pub(crate) async fn finish(
    producer: BareProducer,
    deliveries: &Deliveries,
    sent: u64,
) -> Result<()> {
    let answered = tokio::time::timeout(FLUSH_LIMIT, deliveries.answered(sent)).await;
    // Its drop waits for its thread.
    tokio::task::spawn_blocking(move || producer.flush(FLUSH_LIMIT))
        .await
        .context("closing the producer")?
        .context("flushing the producer")?;
    if answered.is_err() || deliveries.failed() > 0 {
        bail!(
            "of {sent} records {} were acknowledged and {} failed",
            deliveries.acknowledged(),
            deliveries.failed()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bare_loop_finds_the_numbers_without_parsing() {
        for (key, number) in [(0, 1), (77, 123_456)] {
            let record = enveloped(key, number, 1_764_000_000_123).unwrap();
            assert_eq!(enveloped_numbers(&record.payload.unwrap()).unwrap(), (key, number));
        }
        assert!(enveloped_numbers(b"{}").is_err());
    }
}
