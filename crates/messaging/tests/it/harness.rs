//! A topic, a producer and scripted consumers in a namespace of their own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millrace_envelope::{
    ConsumerGroup, EncodedRecord, Envelope, ErrorCode, MessageContext, TopicName, error_codes,
    events,
};
use millrace_messaging::{
    Batch, Consumer, ConsumerEvent, ConsumerHandle, DEFAULTS, Handler, HandlerError, KafkaSettings,
    Mode, Outcomes, Producer, ProducerProfile,
};
use millrace_runtime::settings::{Layers, Problems, Validate, load};
use millrace_runtime::{CancellationToken, Tasks};
use millrace_testkit::{Namespace, Stack, TestTopics, TopicSpec, wait_until};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::Receiver;
use uuid::Uuid;

/// Nothing takes so long, not even on a busy machine: who waits for longer waits in vain. What it bounds never depends on
/// it, so a test that passes is no slower for it.
pub(crate) const SOON: Duration = Duration::from_secs(40);
pub(crate) const TOPIC: TopicName = TopicName::from_static("parcel-events");
pub(crate) const GROUP: ConsumerGroup = ConsumerGroup::from_static("depot.sort");

error_codes! {
    BROKEN_BELT = "depot.broken_belt", 503, "The belt stands still.", "Wait.";
    NO_ADDRESS = "depot.no_address", 422, "The parcel has no address.", "Mend the parcel.";
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Parcel {
    pub(crate) parcel_id: String,
    pub(crate) number: u32,
}

events! {
    /// What happens to parcels.
    pub(crate) enum ParcelEvent on "parcel-events", aggregate "parcel", key parcel_id {
        "parcel.sent" v1 => Sent(Parcel),
    }
}

/// One record as a handler saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) parcel: String,
    pub(crate) number: u32,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) batch_size: usize,
}

pub(crate) type Log = Arc<Mutex<Vec<Seen>>>;

/// A handler that does what the test says with each batch, and notes what it finished.
pub(crate) struct Script<F> {
    pub(crate) done: Log,
    pub(crate) act: F,
}

impl<F, A> Handler for Script<F>
where
    F: Fn(Vec<Seen>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<(), HandlerError>> + Send,
{
    type Message = Envelope<ParcelEvent>;

    async fn handle(&self, batch: Batch<Envelope<ParcelEvent>>) -> Outcomes {
        let seen: Vec<Seen> = batch
            .deliveries
            .iter()
            .map(|delivery| {
                let ParcelEvent::Sent(parcel) = &delivery.message.payload;
                Seen {
                    parcel: parcel.parcel_id.clone(),
                    number: parcel.number,
                    partition: delivery.partition,
                    offset: delivery.offset,
                    batch_size: batch.deliveries.len(),
                }
            })
            .collect();
        let outcome = (self.act)(seen.clone()).await;
        if outcome.is_ok() {
            self.done.lock().unwrap().extend(seen);
        }
        outcome.into()
    }
}

pub(crate) fn broken(code: &'static ErrorCode) -> HandlerError {
    HandlerError::transient(code, "the belt stands still")
}

pub(crate) struct Depot {
    pub(crate) stack: &'static Stack,
    pub(crate) namespace: Namespace,
    pub(crate) settings: KafkaSettings,
    pub(crate) producer: Producer,
    pub(crate) tasks: Tasks,
    pub(crate) done: Log,
    _topics: Vec<TestTopics>,
}

impl Depot {
    /// A topic of so many partitions with its dead-letter topic.
    pub(crate) async fn open(partitions: i32) -> Self {
        let stack = Stack::shared().await;
        let namespace = stack.namespace();
        let dead = TOPIC.dead_letter(GROUP);
        let specs = [TopicSpec::new(TOPIC.as_str(), partitions), TopicSpec::new(dead.as_str(), 1)];
        let topics = stack.topics(&namespace, &specs).await;
        let mut depot = Self::closed(stack, namespace);
        depot.keep(topics);
        depot
    }

    /// Without topics.
    pub(crate) fn closed(stack: &'static Stack, namespace: Namespace) -> Self {
        let settings = settings(stack, &namespace);
        let producer = patient_producer(&settings);
        let (tasks, done) = (Tasks::new(), Log::default());
        Self { stack, namespace, settings, producer, tasks, done, _topics: Vec::new() }
    }

    /// Topics that live as long as this does.
    pub(crate) fn keep(&mut self, topics: TestTopics) {
        self._topics.push(topics);
    }

    /// Starts a member whose handler does `act` with each batch.
    pub(crate) fn member<F, A>(&self, act: F) -> Member
    where
        F: Fn(Vec<Seen>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.start(self.consumer(act))
    }

    /// Starts a member in another mode.
    pub(crate) fn member_in<F, A>(&self, mode: Mode, act: F) -> Member
    where
        F: Fn(Vec<Seen>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        self.start(self.consumer(act).mode(mode))
    }

    /// A member that is not started yet.
    pub(crate) fn consumer<F, A>(&self, act: F) -> Consumer<Script<F>>
    where
        F: Fn(Vec<Seen>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), HandlerError>> + Send + 'static,
    {
        Consumer::new(GROUP, TOPIC, Script { done: Arc::clone(&self.done), act })
    }

    pub(crate) fn start<H: Handler>(&self, consumer: Consumer<H>) -> Member {
        let stop = CancellationToken::new();
        let handle = consumer.start(&self.settings, &self.tasks, stop.clone()).unwrap();
        Member { handle, stop }
    }

    /// Publishes parcels in the order given.
    pub(crate) async fn send(&self, parcels: &[(&str, u32)]) -> Vec<i32> {
        let records: Vec<EncodedRecord> =
            parcels.iter().map(|(id, number)| record(id, *number)).collect();
        let results = self.producer.publish_all(&records).await;
        results.into_iter().map(|result| result.unwrap().partition).collect()
    }

    /// A parcel id for each partition.
    pub(crate) async fn ids_by_partition(&self, partitions: i32) -> BTreeMap<i32, String> {
        let mut found = BTreeMap::new();
        for candidate in 0..1000 {
            let id = format!("p{candidate}");
            let partition = self.send(&[(&id, 0)]).await[0];
            found.entry(partition).or_insert(id);
            if found.len() == usize::try_from(partitions).unwrap() {
                break;
            }
        }
        found
    }

    pub(crate) fn done(&self) -> Vec<Seen> {
        self.done.lock().unwrap().clone()
    }

    /// The numbers of one parcel in the order they were done.
    pub(crate) fn numbers(&self, parcel: &str) -> Vec<u32> {
        self.done().iter().filter(|seen| seen.parcel == parcel).map(|seen| seen.number).collect()
    }

    pub(crate) fn topic(&self) -> String {
        self.namespace.topic(TOPIC.as_str())
    }

    pub(crate) fn dead_letter_topic(&self) -> String {
        self.namespace.topic(TOPIC.dead_letter(GROUP).as_str())
    }

    /// The group's committed offset of one partition, as the broker has it.
    pub(crate) async fn committed(&self, partition: i32) -> Option<i64> {
        let mut config = millrace_testkit::kafka::client(self.stack.addresses().kafka_port);
        config.set("group.id", format!("{GROUP}{}", self.namespace.group_suffix));
        let topic = self.topic();
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = config.create().unwrap();
            let mut list = TopicPartitionList::new();
            list.add_partition(&topic, partition);
            let asked = Instant::now();
            // A coordinator that is only just being made answers that it is none; it is asked again.
            let list = loop {
                match consumer.committed_offsets(list.clone(), SOON) {
                    Ok(list) => break list,
                    Err(error) => assert!(asked.elapsed() < SOON, "{error}"),
                }
            };
            let offset = list.find_partition(&topic, partition).unwrap().offset();
            // Logical offsets, such as «none committed», are negative on the wire.
            offset.to_raw().filter(|raw| *raw >= 0)
        })
        .await
        .unwrap()
    }
}

pub(crate) struct Member {
    pub(crate) handle: ConsumerHandle,
    pub(crate) stop: CancellationToken,
}

impl Member {
    pub(crate) async fn leave(self) {
        self.stop.cancel();
        tokio::time::timeout(SOON, self.handle.closed()).await.expect("the consumer closes");
    }

    /// Waits until its loop has made a whole turn that began after this call: so it polls, and knows by now of all that
    /// was asked of it before.
    pub(crate) async fn turned(&self) {
        self.polled_after(Instant::now()).await;
        // That one began the turn; the next one ends it.
        self.polled_after(Instant::now()).await;
    }

    async fn polled_after(&self, moment: Instant) {
        wait_until("the loop polls", SOON, || async {
            // Before the look, so that a test that stands still between the two is wrong on the safe side.
            let now = Instant::now();
            let last_poll = self.handle.health().last_poll;
            if now.checked_sub(last_poll) > Some(moment) { Ok(()) } else { Err(last_poll) }
        })
        .await;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What a test itself sends arrives, however slow the machine is and however little patience the consumer has.
pub(crate) fn patient_producer(settings: &KafkaSettings) -> Producer {
    let patient = KafkaSettings { publish_timeout: SOON, queue_wait: SOON, ..settings.clone() };
    Producer::new(&patient, ProducerProfile::Durable).unwrap()
}

/// What was told since the last look.
pub(crate) fn told(events: &mut Receiver<ConsumerEvent>) -> Vec<ConsumerEvent> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

/// No stall was told. The health also counts a loop that doesn't poll for as long as the limit, which a slow machine may
/// bring about; this is what the consumer itself takes for one.
pub(crate) fn assert_no_stall(events: &mut Receiver<ConsumerEvent>) {
    let told = told(events);
    let stall = told.iter().find(|event| matches!(event, ConsumerEvent::Stalled { .. }));
    assert_eq!(stall, None, "{told:?}");
}

pub(crate) fn record(parcel: &str, number: u32) -> EncodedRecord {
    let event = ParcelEvent::Sent(Parcel { parcel_id: parcel.to_owned(), number });
    let now_ms = millrace_runtime::Clock::system().now_ms();
    Envelope::new(Uuid::now_v7(), "depot", now_ms, event)
        .encode(&MessageContext::default())
        .unwrap()
}

#[derive(Deserialize)]
struct Section {
    kafka: KafkaSettings,
}

impl Validate for Section {
    fn validate(&self, problems: &mut Problems) {
        self.kafka.validate(problems);
    }
}

/// The defaults, with spans short enough for a test.
pub(crate) fn settings(stack: &Stack, namespace: &Namespace) -> KafkaSettings {
    let brokers = stack.brokers();
    let environment = [
        ("BROKERS", brokers.as_str()),
        ("TOPIC_PREFIX", &namespace.topic_prefix),
        ("GROUP_SUFFIX", &namespace.group_suffix),
        ("PUBLISH_TIMEOUT", "3s"),
        ("SESSION_TIMEOUT", "6s"),
        ("HEARTBEAT_INTERVAL", "500ms"),
        ("COMMIT_INTERVAL", "100ms"),
        ("RETRY_WAIT_MIN", "10ms"),
        ("RETRY_WAIT_MAX", "50ms"),
        ("REVOKE_TIMEOUT", "2s"),
        ("LAG_INTERVAL", "100ms"),
        ("METADATA_REFRESH", "300ms"),
    ];
    let environment =
        environment.iter().map(|(k, v)| (format!("T__KAFKA__{k}"), (*v).to_owned())).collect();
    let layers = Layers { defaults: vec![DEFAULTS], overlay: None, prefix: "T", environment };
    load::<Section>(&layers).unwrap_or_else(|problems| panic!("{problems}")).kafka
}
