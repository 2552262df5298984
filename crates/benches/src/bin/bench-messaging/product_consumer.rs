//! The product's consumer with the handlers that are measured.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use millrace_common::envelope::{ConsumerGroup, Envelope};
use millrace_common::messaging::{
    Batch, Consumer, ConsumerHandle, Delivery, Handler, KafkaSettings, Message, Outcome, Outcomes,
    RawMessage, each,
};
use millrace_common::runtime::{CancellationToken, Tasks};
use millrace_testkit::try_wait_until;
use tokio::time::timeout;

use crate::bare;
use crate::job::{HandlerKind, count};
use crate::ledger::Sink;
use crate::records::{Form, NoteEvent, TOPIC, note_numbers, raw_numbers};

const GROUP: ConsumerGroup = ConsumerGroup::from_static("bench.read");
const CLOSE_LIMIT: Duration = Duration::from_secs(20);
const JOIN_LIMIT: Duration = Duration::from_secs(60);

/// The group's committed offsets of all partitions together: as many records as it says are done.
pub(crate) async fn committed(settings: &KafkaSettings, topic: &str) -> Result<u64> {
    let group = format!("{GROUP}{}", settings.group_suffix);
    let consumer = bare::member_of(settings, &group)?;
    let topic = topic.to_owned();
    let offsets = tokio::task::spawn_blocking(move || bare::committed(&consumer, &topic));
    offsets.await.context("asking for committed offsets")?
}

/// A running consumer.
pub(crate) struct Consumption {
    handle: ConsumerHandle,
    tasks: Tasks,
    stop: CancellationToken,
    times: Arc<Times>,
}

/// How long handler calls took.
#[derive(Debug, Default)]
struct Times {
    calls: AtomicU64,
    nanos: AtomicU64,
}

/// Starts a member of a group of its own, ordered by key.
pub(crate) fn start<S: Sink>(
    settings: &KafkaSettings,
    kind: HandlerKind,
    in_flight: usize,
    sink: Arc<S>,
) -> Result<Consumption> {
    let times = Arc::new(Times::default());
    let member = Member { settings, in_flight, times: Arc::clone(&times) };
    match kind {
        HandlerKind::NoOp(Form::Raw) => {
            member.start(each(move |delivery: Delivery<RawMessage>| {
                let sink = Arc::clone(&sink);
                async move { done(&*sink, &delivery) }
            }))
        }
        HandlerKind::NoOp(Form::Enveloped) => {
            member.start(each(move |delivery: Delivery<Envelope<NoteEvent>>| {
                let sink = Arc::clone(&sink);
                async move { done(&*sink, &delivery) }
            }))
        }
        HandlerKind::NoOpBatch(Form::Raw) => member.start(Batches::<_, RawMessage>::new(sink)),
        HandlerKind::NoOpBatch(Form::Enveloped) => {
            member.start(Batches::<_, Envelope<NoteEvent>>::new(sink))
        }
        HandlerKind::Sleep(span) => {
            member.start(each(move |delivery: Delivery<Envelope<NoteEvent>>| {
                let (sink, times) = (Arc::clone(&sink), Arc::clone(&times));
                async move {
                    let started = Instant::now();
                    tokio::time::sleep(span).await;
                    times.note(started.elapsed());
                    done(&*sink, &delivery)
                }
            }))
        }
    }
}

/// What every kind of handler is started with.
struct Member<'a> {
    settings: &'a KafkaSettings,
    in_flight: usize,
    times: Arc<Times>,
}

impl Member<'_> {
    fn start<H: Handler>(self, handler: H) -> Result<Consumption> {
        let (tasks, stop) = (Tasks::new(), CancellationToken::new());
        let handle = Consumer::new(GROUP, TOPIC, handler)
            .concurrency(self.in_flight)
            .start(self.settings, &tasks, stop.clone())
            .context("starting a consumer")?;
        Ok(Consumption { handle, tasks, stop, times: self.times })
    }
}

impl Consumption {
    /// What a handler call took at the mean.
    pub(crate) fn handler_seconds(&self) -> f64 {
        let calls = self.times.calls.load(Ordering::Relaxed);
        let all = Duration::from_nanos(self.times.nanos.load(Ordering::Relaxed));
        if calls > 0 { all.as_secs_f64() / count(calls) } else { 0.0 }
    }

    /// Waits until it owns partitions: on brokers that have just come back, joining may take longer than the traffic.
    pub(crate) async fn joined(&self) -> Result<()> {
        let owns = || async { self.handle.health().partition_count > 0 };
        let joined = try_wait_until(JOIN_LIMIT, owns).await;
        joined.map_err(|_| anyhow::anyhow!("no partition after {JOIN_LIMIT:?}"))
    }

    /// Leaves the group, and fails when something was left behind.
    pub(crate) async fn close(self) -> Result<()> {
        self.stop.cancel();
        let closed = timeout(CLOSE_LIMIT, self.handle.closed()).await;
        ensure!(closed.is_ok(), "the consumer did not close: {:?}", self.handle.health());
        let left = self.tasks.wait(CLOSE_LIMIT).await;
        ensure!(left.is_empty(), "tasks did not end: {left:?}");
        let panicked = self.tasks.panicked();
        ensure!(panicked.is_empty(), "tasks panicked: {panicked:?}");
        Ok(())
    }
}

impl Times {
    fn note(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

/// A message that tells its key and number.
trait Numbered: Message {
    fn numbers(&self) -> Result<(u32, u32)>;
}

impl Numbered for RawMessage {
    fn numbers(&self) -> Result<(u32, u32)> {
        raw_numbers(self.0.payload().unwrap_or_default())
    }
}

impl Numbered for Envelope<NoteEvent> {
    fn numbers(&self) -> Result<(u32, u32)> {
        note_numbers(&self.payload)
    }
}

fn done<M: Numbered>(sink: &impl Sink, delivery: &Delivery<M>) -> Outcome {
    sink.enter(delivery.partition, delivery.message.numbers());
    sink.handled(1);
    Outcome::Done
}

/// Takes as many records in one call as the settings allow.
struct Batches<S, M> {
    sink: Arc<S>,
    message: PhantomData<fn() -> M>,
}

impl<S, M> Batches<S, M> {
    fn new(sink: Arc<S>) -> Self {
        Self { sink, message: PhantomData }
    }
}

impl<S: Sink, M: Numbered> Handler for Batches<S, M> {
    type Message = M;

    async fn handle(&self, batch: Batch<M>) -> Outcomes {
        for delivery in &batch.deliveries {
            done(&*self.sink, delivery);
        }
        Outcomes::all(Outcome::Done)
    }
}
