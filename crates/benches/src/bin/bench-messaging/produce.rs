//! Producing a set of enveloped records, four ways; each ends with the last acknowledgement.
//!
//! The records are made before the clock starts, on every side alike, and all sides send the same bytes and headers.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use millrace_common::envelope::EncodedRecord;
use millrace_common::messaging::{
    KafkaSettings, OverflowPolicy, Producer, ProducerProfile, ProducerQueue, QueueOptions,
};
use millrace_common::runtime::Clock;
use rdkafka::producer::FutureRecord;

use crate::bare::{self, BareMessage};
use crate::job::{Measured, ProducedBy};
use crate::ledger::Marks;
use crate::records::{RecordSet, TOPIC, enveloped};
use crate::target::{measured, warm_up};
use crate::usage::Mark;

/// Records that a caller awaits together.
const BATCH: usize = 500;
/// Callers that await at once.
const CALLERS: usize = 8;
const QUEUE_PATIENCE: Duration = Duration::from_secs(60);

/// Produces the whole set; the warm-up's records are acknowledged before the clock starts.
pub(crate) async fn measure(
    settings: &KafkaSettings,
    set: &RecordSet,
    by: ProducedBy,
) -> Result<Measured> {
    let now_ms = Clock::system().now_ms();
    let records: Result<Vec<EncodedRecord>> =
        set.numbered().map(|(key, number)| enveloped(key, number, now_ms)).collect();
    let mut warm = records?;
    let counted = warm.split_off(usize::try_from(warm_up(set))?);
    let messages = counted.len() as u64;
    let topic = format!("{}{TOPIC}", settings.topic_prefix);
    let (start, end) = match by {
        ProducedBy::BareThreaded => bare_threaded(settings, &topic, &warm, &counted).await?,
        ProducedBy::Queue => queue(settings, warm, counted).await?,
        ProducedBy::BareFutures => {
            let producer = bare::future_producer(settings)?;
            let (warm, counted) = (lanes(&warm), lanes(&counted));
            let send = async |batch: &[EncodedRecord]| bare_futures(&producer, &topic, batch).await;
            by_callers(&warm, send).await?;
            let start = Mark::now();
            by_callers(&counted, send).await?;
            (start, Mark::now())
        }
        ProducedBy::Awaited => {
            let producer = Producer::new(settings, ProducerProfile::Durable)?;
            let (warm, counted) = (lanes(&warm), lanes(&counted));
            let send = async |batch: &[EncodedRecord]| awaited(&producer, batch).await;
            by_callers(&warm, send).await?;
            let start = Mark::now();
            by_callers(&counted, send).await?;
            (start, Mark::now())
        }
    };
    let marks = Marks { start, middle: start, end, records: messages };
    Ok(measured(Some(marks), Ok(())))
}

/// Each caller has its own keys' records in order: what one caller sends overtakes nothing of another's.
fn lanes(records: &[EncodedRecord]) -> Vec<Vec<EncodedRecord>> {
    let mut lanes = vec![Vec::new(); CALLERS];
    for record in records {
        let lane = record.key.last().map_or(0, |digit| usize::from(*digit)) % CALLERS;
        lanes[lane].push(record.clone());
    }
    lanes
}

/// All callers at once, each of them batch after batch.
async fn by_callers(
    lanes: &[Vec<EncodedRecord>],
    send: impl AsyncFn(&[EncodedRecord]) -> Result<()> + Copy,
) -> Result<()> {
    let callers = lanes.iter().map(|lane| async move {
        for batch in lane.chunks(BATCH) {
            send(batch).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(callers).await.map(drop)
}

async fn bare_threaded(
    settings: &KafkaSettings,
    topic: &str,
    warm_up: &[EncodedRecord],
    counted: &[EncodedRecord],
) -> Result<(Mark, Mark)> {
    let (producer, deliveries) = bare::threaded_producer(settings)?;
    for record in warm_up {
        bare::send(&producer, bare_message(topic, record)).await?;
    }
    deliveries.answered(warm_up.len() as u64).await;
    let start = Mark::now();
    for record in counted {
        bare::send(&producer, bare_message(topic, record)).await?;
    }
    let sent = (warm_up.len() + counted.len()) as u64;
    deliveries.answered(sent).await;
    let end = Mark::now();
    bare::finish(producer, &deliveries, sent).await?;
    Ok((start, end))
}

/// Handed over without waiting for anything but room; what comes back undelivered breaks the measurement.
async fn queue(
    settings: &KafkaSettings,
    warm_up: Vec<EncodedRecord>,
    counted: Vec<EncodedRecord>,
) -> Result<(Mark, Mark)> {
    let producer = Producer::new(settings, ProducerProfile::Durable)?;
    let policy = OverflowPolicy::Block { deadline: QUEUE_PATIENCE };
    let queue = ProducerQueue::start(&producer, QueueOptions::new("bench", policy, settings), drop)
        .context("starting the queue")?;
    for record in warm_up {
        queue.offer_within(record, QUEUE_PATIENCE).await?;
    }
    ensure!(queue.flush(QUEUE_PATIENCE).await, "the warm-up did not go out");
    let start = Mark::now();
    for record in counted {
        queue.offer_within(record, QUEUE_PATIENCE).await?;
    }
    let flushed = queue.flush(QUEUE_PATIENCE).await;
    let end = Mark::now();
    let counts = queue.counts();
    ensure!(flushed && counts.delivered == counts.accepted, "not all was delivered: {counts:?}");
    Ok((start, end))
}

fn bare_message<'a>(topic: &'a str, record: &'a EncodedRecord) -> BareMessage<'a> {
    BareMessage {
        topic,
        key: &record.key,
        value: record.payload.as_deref().unwrap_or_default(),
        headers: &record.headers,
    }
}

async fn bare_futures(
    producer: &rdkafka::producer::FutureProducer,
    topic: &str,
    records: &[EncodedRecord],
) -> Result<()> {
    let mut answers = Vec::with_capacity(records.len());
    for record in records {
        let message = bare_message(topic, record);
        let outgoing = FutureRecord::to(topic)
            .key(message.key)
            .payload(message.value)
            .headers(bare::owned_headers(message.headers));
        let sent = producer.send_result(outgoing);
        answers.push(sent.map_err(|(error, _)| error).context("producing a record")?);
    }
    for answer in answers {
        let delivered = answer.await.context("the producer went away")?;
        delivered.map_err(|(error, _)| error).context("a record was not acknowledged")?;
    }
    Ok(())
}

async fn awaited(producer: &Producer, records: &[EncodedRecord]) -> Result<()> {
    for published in producer.publish_all(records).await {
        published.context("a record was not acknowledged")?;
    }
    Ok(())
}
