//! Publishing, in two profiles.
//!
//! **Durable** waits for all in-sync replicas and is idempotent: retries inside the client neither double nor
//! reorder. **Bulk** is for lines that may be lost: one acknowledgement, three retries, small batches.
//!
//! A [`Producer`] is awaited: each record's fate goes to whoever published it. A [`ProducerQueue`] is not: records
//! are offered to it, and those that were not delivered come back to the queue's owner. In neither does a record
//! that is not acknowledged within `publish_timeout` vanish, nor one that the client held when it ended fatally.
//!
//! What is not promised: a message that failed by time-out may have reached the broker all the same, so publishing
//! it again can double it; and when a time-out strikes between two messages of one key, the second may arrive and
//! the first come later, by its repeat.
//!
//! [`ProducerQueue`]: queue::ProducerQueue

mod call;
mod error;
mod instance;
mod ordered;
mod outgoing;
pub(crate) mod queue;
mod receipt;
mod span;
mod topic;

use std::sync::Arc;
use std::time::Duration;

use millrace_envelope::EncodedRecord;
use rdkafka::config::ClientConfig;
use tracing::Span;

pub use error::PublishError;
pub use ordered::{Answer, OrderedProducer};

use crate::client::{ClientError, base_config};
use crate::letter::RawOutgoing;
use crate::naming::Naming;
use crate::settings::{DEAD_LETTER_ROOM_BYTES, KafkaSettings};
use call::Call;
use instance::{Client, Instance, Record};
use outgoing::Parts;
use receipt::{Owner, Receipt};
use topic::{Topic, Topics};

/// What a producer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProducerProfile {
    /// Business events: acknowledged by all in-sync replicas, idempotent.
    Durable,
    /// Log lines: acknowledged by the leader, batched, may be lost with it.
    Bulk,
}

/// Where a message landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordPosition {
    /// The partition.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
}

/// Publishes messages. Cloning shares the connection and the queue.
#[derive(Debug, Clone)]
pub struct Producer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    instance: Arc<Instance>,
    topics: Topics,
    profile: ProducerProfile,
    message_bytes_max: u64,
    queue_wait: Duration,
}

/// How often room in a full queue is looked for.
const QUEUE_LOOK_INTERVAL: Duration = Duration::from_millis(5);

impl Producer {
    /// Starts a producer; it connects by itself, and a broker that is away is no error here.
    ///
    /// # Errors
    /// When the client refuses its settings.
    pub fn new(settings: &KafkaSettings, profile: ProducerProfile) -> Result<Self, ClientError> {
        let role = match profile {
            ProducerProfile::Durable => "durable producer",
            ProducerProfile::Bulk => "bulk producer",
        };
        Ok(Self(Arc::new(Shared {
            instance: Instance::start(role, producer_config(settings, profile), settings)?,
            topics: Topics::new(Naming::new(settings)),
            profile,
            message_bytes_max: settings.message_bytes_max.as_u64(),
            queue_wait: settings.queue_wait,
        })))
    }

    /// Publishes one message and waits for its acknowledgement.
    ///
    /// # Errors
    /// See [`PublishError`]; the message is then not known to be published, and the caller keeps it.
    pub async fn publish(&self, record: &EncodedRecord) -> Result<RecordPosition, PublishError> {
        only(self.publish_all(std::slice::from_ref(record)).await)
    }

    /// Publishes messages in the order given and waits for all acknowledgements; the results stand in that order.
    pub async fn publish_all(
        &self,
        records: &[EncodedRecord],
    ) -> Vec<Result<RecordPosition, PublishError>> {
        let mut round = Round::begin(&self.0, records.len());
        for record in records {
            let span = self.0.send_span(record);
            round.hand_over(&record.topic, Parts::of(record), self.0.message_bytes_max, span).await;
        }
        round.call.settled().await
    }

    /// Publishes a record byte for byte, with headers that may repeat or be null, and waits for its acknowledgement.
    ///
    /// # Errors
    /// As [`Self::publish`]; there is some room above `message_bytes_max` for a dead letter's own headers.
    pub async fn publish_raw(&self, record: &RawOutgoing) -> Result<RecordPosition, PublishError> {
        only(self.publish_raw_all(std::slice::from_ref(record)).await)
    }

    /// Publishes such records in the order given; the results stand in that order.
    pub async fn publish_raw_all(
        &self,
        records: &[RawOutgoing],
    ) -> Vec<Result<RecordPosition, PublishError>> {
        let bytes_max = self.0.message_bytes_max + DEAD_LETTER_ROOM_BYTES;
        let mut round = Round::begin(&self.0, records.len());
        for record in records {
            let span = self.0.raw_send_span(record);
            round.hand_over(&record.topic, Parts::of_raw(record), bytes_max, span).await;
        }
        round.call.settled().await
    }

    /// Waits until everything published so far was acknowledged or failed; false when `budget` ran out first.
    pub async fn flush(&self, budget: Duration) -> bool {
        self.0.instance.flush(budget).await
    }

    /// True while no broker answers this producer.
    #[must_use]
    pub fn brokers_away(&self) -> bool {
        self.0.instance.connection().away()
    }
}

/// One call's records on their way into one client. A call never goes on with another client: behind records that
/// failed with the first, those that follow would overtake.
struct Round<'a> {
    shared: &'a Shared,
    client: Arc<Client>,
    call: Arc<Call>,
    topic: Option<Arc<Topic>>,
    place: usize,
    full: bool,
}

impl<'a> Round<'a> {
    fn begin(shared: &'a Shared, records: usize) -> Self {
        let (client, call) = (shared.instance.client(), Call::new(records));
        Self { shared, client, call, topic: None, place: 0, full: false }
    }

    /// Hands the next record to the client, or settles it with what stands against that.
    async fn hand_over(
        &mut self,
        topic: &millrace_envelope::TopicName,
        parts: Parts<'_>,
        bytes_max: u64,
        span: Span,
    ) {
        let place = self.place;
        self.place += 1;
        // Behind a record that found no room nothing else is tried: it would overtake, and wait as long again.
        let taken = if self.full {
            Err(PublishError::QueueFull)
        } else {
            let topic = self.shared.topics.find_after(&mut self.topic, topic);
            let owner = Owner::Call(Arc::clone(&self.call), place);
            let receipt = Box::new(Receipt { topic: Arc::clone(topic), span, owner });
            match record(topic, parts, bytes_max, receipt) {
                Ok(record) => self.shared.enqueue(&self.client, record).await,
                Err(error) => Err(error),
            }
        };
        if let Err(error) = taken {
            self.full |= matches!(error, PublishError::QueueFull);
            self.call.settle(place, Err(error));
        }
    }
}

impl Shared {
    /// Puts a message into the client's queue; when that is full, the profile decides between waiting and an error.
    async fn enqueue(
        &self,
        client: &Arc<Client>,
        mut record: Record<'_>,
    ) -> Result<(), PublishError> {
        let mut waited = Duration::ZERO;
        loop {
            let Err((error, back)) = client.send(record) else { return Ok(()) };
            let error = PublishError::of(back.delivery_opaque.topic.name.as_str(), error);
            let full = matches!(error, PublishError::QueueFull);
            let patient = self.profile == ProducerProfile::Durable;
            if !full || !patient || waited >= self.queue_wait {
                span::failed(&back.delivery_opaque.span, &error);
                return Err(error);
            }
            tokio::time::sleep(QUEUE_LOOK_INTERVAL).await;
            waited += QUEUE_LOOK_INTERVAL;
            record = back;
        }
    }

    /// The span of one send; log lines get none.
    fn send_span(&self, record: &EncodedRecord) -> Span {
        match self.profile {
            ProducerProfile::Bulk => Span::none(),
            ProducerProfile::Durable => {
                let headers = record.headers.iter();
                let headers = headers.map(|(name, value)| (name.as_str(), value.as_slice()));
                span::start(record.topic.as_str(), Some(&record.key), headers)
            }
        }
    }

    fn raw_send_span(&self, record: &RawOutgoing) -> Span {
        match self.profile {
            ProducerProfile::Bulk => Span::none(),
            ProducerProfile::Durable => {
                let headers = record.headers.iter();
                let headers =
                    headers.filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)));
                span::start(record.topic.as_str(), record.key.as_deref(), headers)
            }
        }
    }
}

/// The record as the client takes it, unless it is too large.
fn record<'a>(
    topic: &'a Topic,
    parts: Parts<'a>,
    bytes_max: u64,
    receipt: Box<Receipt>,
) -> Result<Record<'a>, PublishError> {
    let bytes = parts.bytes();
    if bytes > bytes_max {
        let topic = topic.name.to_string();
        return Err(PublishError::TooLarge { topic, bytes, max: bytes_max });
    }
    let mut record = Record::with_opaque_to(&topic.broker_name, receipt).headers(parts.headers);
    record.key = parts.key;
    record.payload = parts.payload;
    record.timestamp = parts.timestamp_ms;
    Ok(record)
}

/// The answer of a call of one record.
fn only<T>(answers: Vec<Result<T, PublishError>>) -> Result<T, PublishError> {
    answers.into_iter().next().unwrap_or(Err(PublishError::Closed))
}

fn producer_config(settings: &KafkaSettings, profile: ProducerProfile) -> ClientConfig {
    let mut config = base_config(settings);
    let message_bytes = settings.message_bytes_max.as_u64() + DEAD_LETTER_ROOM_BYTES;
    config
        // Java's hash, so that other clients and change data capture put a key into the same partition.
        .set("partitioner", "murmur2_random")
        .set("message.max.bytes", message_bytes.to_string())
        .set("message.timeout.ms", settings.publish_timeout.as_millis().to_string())
        .set("queue.buffering.max.messages", settings.queue_records_max.to_string())
        .set("queue.buffering.max.kbytes", (settings.queue_bytes_max.as_u64() / 1024).to_string());
    match profile {
        ProducerProfile::Durable => config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", settings.linger.as_millis().to_string()),
        ProducerProfile::Bulk => config
            .set("acks", "1")
            .set("retries", settings.bulk_retries.to_string())
            .set("batch.size", settings.bulk_batch_bytes.as_u64().to_string())
            .set("linger.ms", settings.bulk_linger.as_millis().to_string()),
    };
    config
}

#[cfg(test)]
mod tests;
