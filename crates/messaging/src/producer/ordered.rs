//! A producer for one owner who keeps its records until they are acknowledged and needs them in order: the relay.
//!
//! Records of one key may be on their way together, in any number, and still never pass each other. Three settings
//! make that so, and one habit:
//!
//! - **Idempotence** numbers the records of a partition; the broker takes them only without a gap.
//! - **The gapless guarantee** ends the client when the broker refuses a batch for good. Without it the client would
//!   number anew and send what stood behind the refused batch, before its owner knows.
//! - **No time-out of a message**: what can't be sent waits, in order, until the broker is back. A record that
//!   timed out alone would be passed by its successor.
//! - **A client that ended is emptied before it is replaced.** [`OrderedProducer::send`] takes nothing until every
//!   record of the old client was answered, so the owner reads them all again, in order, into the new one.
//!
//! A client that ended may have published some of what it gave back; sent again it is doubled, never turned around:
//! each run of a key's records starts at or before the first one that was not acknowledged.
//!
//! What remains: a record for a topic that doesn't exist fails alone, without ending the client. The owner must not
//! have a second record of that topic on its way until one was acknowledged ([`Answer::Failed`] says so).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use millrace_envelope::TopicName;
use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Message as _, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};
use tokio::sync::Notify;
use tracing::Span;

use super::{PublishError, RecordPosition, span};
use crate::client::{ClientError, Connection, PlainContext, base_config};
use crate::letter::RawOutgoing;
use crate::metrics;
use crate::naming::Naming;
use crate::settings::{DEAD_LETTER_ROOM_BYTES, KafkaSettings};

/// What became of a record that was sent.
#[derive(Debug)]
pub enum Answer {
    /// All in-sync replicas have it.
    Acknowledged(RecordPosition),
    /// It was refused, alone or with the batch it travelled in.
    Failed(PublishError),
    /// Given back because the client ended on another record's account. It may have been published.
    Swept,
}

/// Publishes for one owner in the order of its calls.
pub struct OrderedProducer {
    config: ClientConfig,
    connection: Arc<Connection>,
    naming: Naming,
    bytes_max: u64,
    /// Absent while the one that ended could not be replaced.
    client: Option<Client>,
    ended: bool,
    on_its_way: usize,
    mailbox: Arc<Mailbox>,
    names: HashMap<TopicName, Names>,
}

type Client = ThreadedProducer<Context>;

#[derive(Clone)]
struct Names {
    logical: Arc<str>,
    broker: Arc<str>,
}

/// Answers on their way from the client's thread to the owner: a wake-up for the first, none for those that follow.
#[derive(Default)]
struct Mailbox {
    answers: Mutex<Vec<(i64, Answer)>>,
    arrived: Notify,
}

impl OrderedProducer {
    /// Starts a producer; it connects by itself, and a broker that is away is no error here.
    ///
    /// # Errors
    /// When the client refuses its settings.
    pub fn new(settings: &KafkaSettings) -> Result<Self, ClientError> {
        let connection = Connection::new("ordered producer", settings);
        let mailbox = Arc::<Mailbox>::default();
        let config = config(settings);
        Ok(Self {
            client: Some(create(&config, &connection, &mailbox)?),
            config,
            connection,
            naming: Naming::new(settings),
            bytes_max: settings.message_bytes_max.as_u64(),
            ended: false,
            on_its_way: 0,
            mailbox,
            names: HashMap::new(),
        })
    }

    /// Hands a record to the client, to be answered under `ticket`. Never waits.
    ///
    /// # Errors
    /// [`PublishError::QueueFull`] means «not now»: the queue is full, or the client ended and is being emptied.
    /// Whatever else is said is about this record. After an error send no later record of its key.
    pub fn send(&mut self, ticket: i64, record: &RawOutgoing) -> Result<(), PublishError> {
        self.put(ticket, record, self.bytes_max)
    }

    /// The same for a dead letter, which may be larger than a message by the headers that it was given.
    ///
    /// # Errors
    /// As [`OrderedProducer::send`].
    pub fn send_letter(&mut self, ticket: i64, record: &RawOutgoing) -> Result<(), PublishError> {
        self.put(ticket, record, self.bytes_max + DEAD_LETTER_ROOM_BYTES)
    }

    /// Records without an answer.
    #[must_use]
    pub fn on_its_way(&self) -> usize {
        self.on_its_way
    }

    /// True while no broker answers.
    #[must_use]
    pub fn brokers_away(&self) -> bool {
        self.connection.away()
    }

    /// Waits until there is an answer. Dropping the future loses nothing.
    pub async fn answered(&self) {
        loop {
            let arrived = self.mailbox.arrived.notified();
            if !self.mailbox.lock().is_empty() {
                return;
            }
            arrived.await;
        }
    }

    /// Takes the answers that are there, in the order in which the client gave them.
    pub fn answers(&mut self) -> Vec<(i64, Answer)> {
        let answers = std::mem::take(&mut *self.mailbox.lock());
        self.on_its_way = self.on_its_way.saturating_sub(answers.len());
        let doubtful = answers.iter().any(|(_, answer)| !matches!(answer, Answer::Acknowledged(_)));
        if doubtful {
            self.end_if_fatal();
        }
        if self.ended && self.on_its_way == 0 {
            self.renew();
        } else if self.ended {
            self.purge();
        }
        answers
    }

    fn put(
        &mut self,
        ticket: i64,
        record: &RawOutgoing,
        bytes_max: u64,
    ) -> Result<(), PublishError> {
        if self.ended && self.on_its_way == 0 {
            self.renew();
        }
        let names = self.names(&record.topic);
        let Some(client) = self.client.as_ref().filter(|_| !self.ended) else {
            return Err(PublishError::QueueFull);
        };
        let bytes = u64::try_from(size(record)).unwrap_or(u64::MAX);
        if bytes > bytes_max {
            let topic = record.topic.to_string();
            return Err(PublishError::TooLarge { topic, bytes, max: bytes_max });
        }
        let texts = record.headers.iter();
        let texts = texts.filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)));
        let span = span::start(&names.logical, record.key.as_deref(), texts);
        let pending = Pending { ticket, topic: names.logical.clone(), span };
        let sent = BaseRecord::<[u8], [u8], Box<Pending>> {
            topic: &names.broker,
            partition: None,
            payload: record.payload.as_deref(),
            key: record.key.as_deref(),
            timestamp: record.timestamp_ms,
            headers: Some(headers(record)),
            delivery_opaque: Box::new(pending),
        };
        match client.send(sent) {
            Ok(()) => {
                self.on_its_way += 1;
                Ok(())
            }
            Err((error, _back)) => {
                self.end_if_fatal();
                if self.ended {
                    return Err(PublishError::QueueFull);
                }
                Err(PublishError::of(&names.logical, error))
            }
        }
    }

    fn names(&mut self, topic: &TopicName) -> Names {
        if let Some(names) = self.names.get(topic) {
            return names.clone();
        }
        let names =
            Names { logical: topic.as_str().into(), broker: self.naming.topic(topic).into() };
        self.names.insert(topic.clone(), names.clone());
        names
    }

    /// Makes a client that ended give back everything at once.
    fn end_if_fatal(&mut self) {
        let Some(client) = self.client.as_ref().filter(|_| !self.ended) else { return };
        if let Some((code, reason)) = client.client().fatal_error() {
            tracing::warn!(?code, reason, "ordered producer ended and gives back its records");
            self.ended = true;
            self.purge();
        }
    }

    /// Again and again until all is given back: a purge misses what changes hands inside the client just then.
    fn purge(&self) {
        if let Some(client) = &self.client {
            client.purge(PurgeConfig::default().queue().inflight());
        }
    }

    fn renew(&mut self) {
        retire(self.client.take());
        match create(&self.config, &self.connection, &self.mailbox) {
            Ok(client) => {
                self.client = Some(client);
                self.ended = false;
            }
            Err(error) => tracing::error!(%error, "ordered producer could not be replaced"),
        }
    }
}

impl Drop for OrderedProducer {
    fn drop(&mut self) {
        retire(self.client.take());
    }
}

impl fmt::Debug for OrderedProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderedProducer")
            .field("connection", &self.connection)
            .field("on_its_way", &self.on_its_way)
            .finish_non_exhaustive()
    }
}

impl Mailbox {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(i64, Answer)>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, ticket: i64, answer: Answer) {
        let mut answers = self.lock();
        answers.push((ticket, answer));
        if answers.len() == 1 {
            self.arrived.notify_one();
        }
    }
}

/// The drop of a client waits for its threads, which must not hold up a worker of the runtime. It also purges: what
/// it still had is not published any later.
fn retire(client: Option<Client>) {
    if let Some(client) = client {
        std::thread::spawn(move || drop(client));
    }
}

fn config(settings: &KafkaSettings) -> ClientConfig {
    let mut config = base_config(settings);
    let message_bytes = settings.message_bytes_max.as_u64() + DEAD_LETTER_ROOM_BYTES;
    config
        // Java's hash, so that other clients and change data capture put a key into the same partition.
        .set("partitioner", "murmur2_random")
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("enable.gapless.guarantee", "true")
        .set("message.timeout.ms", "0")
        .set("message.max.bytes", message_bytes.to_string())
        .set("linger.ms", settings.linger.as_millis().to_string())
        .set("queue.buffering.max.messages", settings.queue_records_max.to_string())
        .set("queue.buffering.max.kbytes", (settings.queue_bytes_max.as_u64() / 1024).to_string());
    config
}

fn create(
    config: &ClientConfig,
    connection: &Arc<Connection>,
    mailbox: &Arc<Mailbox>,
) -> Result<Client, ClientError> {
    let context =
        Context { plain: PlainContext(Arc::clone(connection)), mailbox: Arc::clone(mailbox) };
    config.create_with_context(context).map_err(ClientError)
}

struct Context {
    plain: PlainContext,
    mailbox: Arc<Mailbox>,
}

/// What travels with a record through the client.
struct Pending {
    ticket: i64,
    topic: Arc<str>,
    /// Ends with the answer.
    span: Span,
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = PlainContext::ENABLE_REFRESH_OAUTH_TOKEN;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.plain.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.plain.error(error, reason);
    }

    fn generate_oauth_token(
        &self,
        config: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.plain.generate_oauth_token(config)
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Box<Pending>) {
        let Pending { ticket, topic, span } = *pending;
        let answer = match result {
            Ok(message) => {
                self.plain.0.answered();
                metrics::sent(&topic);
                let (partition, offset) = (message.partition(), message.offset());
                let position = RecordPosition { partition, offset };
                span::finish(&span, &Ok(position));
                Answer::Acknowledged(position)
            }
            Err((error, _message)) => {
                let failure = PublishError::of(&topic, error.clone());
                span::failed(&span, &failure);
                if swept(error) { Answer::Swept } else { Answer::Failed(failure) }
            }
        };
        drop(span);
        self.mailbox.put(ticket, answer);
    }
}

/// True for what is said of a record only because the client as a whole ended.
fn swept(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::PurgeQueue
                | RDKafkaErrorCode::PurgeInflight
                | RDKafkaErrorCode::Fatal
                | RDKafkaErrorCode::GaplessGuarantee
                | RDKafkaErrorCode::OutOfOrderSequenceNumber
                | RDKafkaErrorCode::DuplicateSequenceNumber
                | RDKafkaErrorCode::InvalidProducerEpoch
                | RDKafkaErrorCode::InvalidProducerIdMapping
                | RDKafkaErrorCode::UnknownProducerId
        )
    )
}

fn size(record: &RawOutgoing) -> usize {
    let part = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
    let headers: usize = record.headers.iter().map(|(name, value)| name.len() + part(value)).sum();
    part(&record.key) + part(&record.payload) + headers
}

fn headers(record: &RawOutgoing) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
    for (key, value) in &record.headers {
        headers = headers.insert(Header { key, value: value.as_deref() });
    }
    headers
}
