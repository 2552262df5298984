//! The least that two hops through this broker can take: produce, consume, produce, consume, with the plain client.
//!
//! Same acknowledgements and idempotence as the product's producer, but nothing is gathered (`linger.ms` 0), no
//! group is joined, nothing is committed, decoded or stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millrace_testkit::{Stack, TopicSpec, kafka};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, sleep_until, timeout};

/// As many as the product's topics have in this run.
const PARTITIONS: i32 = 2;
/// Roughly an order's event with its headers.
const PAYLOAD_BYTES: usize = 1000;
const WARM_UP: usize = 50;
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

type PlainProducer = ThreadedProducer<DefaultProducerContext>;

/// Milliseconds of each record's way over both hops.
pub(crate) async fn round(stack: &Stack, rate: u32, span: Duration) -> Result<Vec<f64>> {
    let count = rate * u32::try_from(span.as_secs())?;
    let topics = [TopicSpec::new("bare-1", PARTITIONS), TopicSpec::new("bare-2", PARTITIONS)];
    let topics = stack.topics(&stack.namespace(), &topics).await;
    let [first, second] = [&topics.names()[0], &topics.names()[1]];
    let port = stack.addresses().kafka_port;
    let stop = StopOnDrop(Arc::new(AtomicBool::new(false)));

    let (onward, target) = (producer(port)?, second.clone());
    follow(port, first, &stop, move |record| {
        let payload = record.payload().unwrap_or_default();
        send(&onward, &target, payload)
    })?;
    let (arrival, mut arrivals) = unbounded_channel();
    follow(port, second, &stop, move |record| {
        arrival.send((number_in(record)?, Instant::now())).context("the round is over")
    })?;

    let producer = producer(port)?;
    for _ in 0..WARM_UP {
        send(&producer, first, &payload(u32::MAX))?;
    }
    receive(&mut arrivals, WARM_UP).await?;
    let start = Instant::now();
    let mut sent = Vec::new();
    for number in 0..count {
        sleep_until(start + Duration::from_secs(1) / rate * number).await;
        sent.push(Instant::now());
        send(&producer, first, &payload(number))?;
    }
    let arrived = receive(&mut arrivals, sent.len()).await?;
    arrived
        .into_iter()
        .map(|(number, at)| {
            let sent = sent.get(usize::try_from(number)?).context("a record that nobody sent")?;
            Ok((at - *sent).as_secs_f64() * 1000.0)
        })
        .collect()
}

async fn receive(
    arrivals: &mut UnboundedReceiver<(u32, Instant)>,
    count: usize,
) -> Result<Vec<(u32, Instant)>> {
    let mut arrived = Vec::with_capacity(count);
    while arrived.len() < count {
        let next = timeout(PATIENCE, arrivals.recv()).await.context("a record did not arrive")?;
        arrived.push(next.context("the reader has ended")?);
    }
    Ok(arrived)
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Hands every record of the topic to `each` on a thread of its own, until the round stops or `each` fails; then
/// the records don't arrive, and the round says so.
fn follow(
    port: u16,
    topic: &str,
    stop: &StopOnDrop,
    mut each: impl FnMut(&BorrowedMessage<'_>) -> Result<()> + Send + 'static,
) -> Result<()> {
    let mut config = kafka::client(port);
    config.set("group.id", "bench-bare").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().context("creating a consumer")?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&partitions).context("assigning partitions")?;
    let stop = Arc::clone(&stop.0);
    std::thread::spawn(move || {
        while !stop.load(Ordering::SeqCst) {
            match consumer.poll(POLL) {
                Some(Ok(record)) if each(&record).is_err() => return,
                Some(_) | None => {}
            }
        }
    });
    Ok(())
}

fn producer(port: u16) -> Result<PlainProducer> {
    let mut config = kafka::client(port);
    config.set("acks", "all").set("enable.idempotence", "true").set("linger.ms", "0");
    config.create().context("creating a producer")
}

fn send(producer: &PlainProducer, topic: &str, payload: &[u8]) -> Result<()> {
    let key = payload.get(..4).context("a record without its number")?;
    let sent = producer.send(BaseRecord::to(topic).key(key).payload(payload));
    sent.map_err(|(error, _)| error).context("producing a record")
}

fn payload(number: u32) -> Vec<u8> {
    let mut payload = vec![b'x'; PAYLOAD_BYTES];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    payload
}

fn number_in(record: &BorrowedMessage<'_>) -> Result<u32> {
    let payload = record.payload().unwrap_or_default();
    ensure!(payload.len() == PAYLOAD_BYTES, "a record of another size");
    Ok(u32::from_be_bytes(payload[..4].try_into()?))
}
