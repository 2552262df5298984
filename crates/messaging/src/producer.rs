//! Publishing, in two profiles.
//!
//! **Durable** waits for all in-sync replicas and is idempotent: retries inside the client neither double nor
//! reorder. A message that is not acknowledged within `publish_timeout` fails, and the failure goes back to the
//! caller, who still has the row or record that it came from; nothing is dropped silently.
//! **Bulk** is for lines that may be lost: one acknowledgement, three retries, small batches, and an error at once
//! when its queue is full. Its errors come back too, so that losses can be counted.
//!
//! What is not promised: a message that failed by time-out may have reached the broker all the same, so publishing
//! it again can double it; and when a time-out strikes between two messages of one key, the second may arrive and
//! the first come later, by its repeat.

mod error;
mod instance;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use millrace_envelope::{EncodedRecord, TraceContext, text_header};
use rdkafka::config::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{DeliveryFuture, FutureRecord};
use tracing::{Instrument, Span};

pub use error::PublishError;

use crate::client::{ClientError, base_config};
use crate::metrics;
use crate::naming::{Naming, key_text};
use crate::settings::{DEAD_LETTER_ROOM_BYTES, KafkaSettings};
use instance::Instance;

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
    instance: Instance,
    naming: Naming,
    profile: ProducerProfile,
    message_bytes_max: u64,
    queue_wait: Duration,
}

/// A message whose parts may be absent, which envelopes never have but foreign records do.
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: String,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) payload: Option<&'a [u8]>,
    pub(crate) headers: OwnedHeaders,
    pub(crate) header_bytes: usize,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) bytes_max: u64,
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
            naming: Naming::new(settings),
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
        let span = self.send_span(record);
        async {
            let acknowledgement = self.enqueue(self.outgoing(record)).await?;
            self.acknowledged(&record.topic, acknowledgement).await
        }
        .instrument(span)
        .await
    }

    /// Publishes messages in the order given and waits for all acknowledgements; the results stand in that order.
    pub async fn publish_all(
        &self,
        records: &[EncodedRecord],
    ) -> Vec<Result<RecordPosition, PublishError>> {
        let mut waiting = Vec::with_capacity(records.len());
        let mut full = false;
        for record in records {
            let span = self.send_span(record);
            // Behind a record that found no room nothing else is tried: it would overtake, and wait as long again.
            let enqueued = match full {
                true => Err(PublishError::QueueFull),
                false => self.enqueue(self.outgoing(record)).await,
            };
            full = matches!(enqueued, Err(PublishError::QueueFull));
            waiting.push(
                async move {
                    match enqueued {
                        Ok(acknowledgement) => {
                            self.acknowledged(&record.topic, acknowledgement).await
                        }
                        Err(error) => Err(error),
                    }
                }
                .instrument(span),
            );
        }
        join_all(waiting).await
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

    /// Publishes a record that did not come from an envelope, on a topic given by its name on the broker.
    pub(crate) async fn publish_raw(
        &self,
        outgoing: Outgoing<'_>,
    ) -> Result<RecordPosition, PublishError> {
        let topic = outgoing.topic.clone();
        let acknowledgement = self.enqueue(outgoing).await?;
        self.delivered(&topic, acknowledgement).await
    }

    fn outgoing<'a>(&self, record: &'a EncodedRecord) -> Outgoing<'a> {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        Outgoing {
            topic: self.0.naming.topic(&record.topic),
            key: Some(&record.key),
            payload: record.payload.as_deref(),
            headers,
            header_bytes: record.headers.iter().map(|(key, value)| key.len() + value.len()).sum(),
            timestamp_ms: record.timestamp_ms,
            bytes_max: self.0.message_bytes_max,
        }
    }

    /// Puts a message into the client's queue; when that is full, the profile decides between waiting and an error.
    async fn enqueue(&self, outgoing: Outgoing<'_>) -> Result<DeliveryFuture, PublishError> {
        let bytes = outgoing.key.map_or(0, <[u8]>::len)
            + outgoing.payload.map_or(0, <[u8]>::len)
            + outgoing.header_bytes;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        if bytes > outgoing.bytes_max {
            return Err(PublishError::TooLarge {
                topic: outgoing.topic,
                bytes,
                max: outgoing.bytes_max,
            });
        }
        let topic = outgoing.topic.clone();
        let mut record: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(&topic).headers(outgoing.headers);
        record.key = outgoing.key;
        record.payload = outgoing.payload;
        record.timestamp = outgoing.timestamp_ms;
        let mut waited = Duration::ZERO;
        loop {
            match self.0.instance.enqueue(record) {
                Ok(acknowledgement) => return Ok(acknowledgement),
                Err((error, back)) => {
                    let error = PublishError::of(&topic, error);
                    let full = matches!(error, PublishError::QueueFull);
                    let patient = self.0.profile == ProducerProfile::Durable;
                    if !full || !patient || waited >= self.0.queue_wait {
                        return Err(error);
                    }
                    tokio::time::sleep(QUEUE_LOOK_INTERVAL).await;
                    waited += QUEUE_LOOK_INTERVAL;
                    record = back;
                }
            }
        }
    }

    async fn acknowledged(
        &self,
        topic: &millrace_envelope::TopicName,
        acknowledgement: DeliveryFuture,
    ) -> Result<RecordPosition, PublishError> {
        let position = self.delivered(topic.as_str(), acknowledgement).await?;
        metrics::sent(topic.as_str());
        Ok(position)
    }

    async fn delivered(
        &self,
        topic: &str,
        acknowledgement: DeliveryFuture,
    ) -> Result<RecordPosition, PublishError> {
        match acknowledgement.await {
            Ok(Ok(delivery)) => {
                self.0.instance.connection().answered();
                Ok(RecordPosition { partition: delivery.partition, offset: delivery.offset })
            }
            Ok(Err((error, _message))) => {
                self.0.instance.renew_if_fatal();
                Err(PublishError::of(topic, error))
            }
            Err(_) => Err(PublishError::Closed),
        }
    }

    /// The span of one send, in the trace of the record's creation; log lines get none.
    fn send_span(&self, record: &EncodedRecord) -> Span {
        if self.0.profile == ProducerProfile::Bulk {
            return Span::none();
        }
        let span = tracing::info_span!(
            "send",
            otel.name = format_args!("send {}", record.topic),
            otel.kind = "producer",
            messaging.system = "kafka",
            messaging.operation.name = "send",
            messaging.operation.type = "send",
            messaging.destination.name = record.topic.as_str(),
            messaging.kafka.message.key = key_text(&record.key),
        );
        let header = |name| {
            let all = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
            text_header(all, name).unwrap_or_default()
        };
        let trace = TraceContext {
            traceparent: header("traceparent"),
            tracestate: header("tracestate"),
            baggage: String::new(),
        };
        millrace_telemetry::set_parent(&span, &trace);
        span
    }
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
