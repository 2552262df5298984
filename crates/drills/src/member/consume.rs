//! The one place of the member that knows the consumer's own words.

use std::sync::Arc;

use anyhow::Result;
use millrace_checker::What;
use millrace_envelope::{Envelope, TopicName, error_codes};
use millrace_messaging::{
    Consumer, ConsumerEvent, ConsumerHandle, Delivery, KafkaSettings, Message, Mode, Outcome,
    RawRecord, Unreadable, codes, each,
};
use millrace_outbox::{DeadLetters, Epochs};
use millrace_runtime::{CancellationToken, Tasks};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

use super::sink::SinkError;
use super::sorter::{Sorter, Word, Work};
use super::{Arguments, ModeKind, SinkKind, Store};
use crate::notes::Notes;
use crate::parcel::{GROUP, PARCELS, ParcelEvent};

error_codes! {
    FATED = "drill.fated", 503, "This attempt is fated to fail.", "Nothing; the drill wants it so.";
    HOPELESS = "drill.hopeless", 422, "This record can't succeed.", "Nothing; the drill wants it so.";
}

/// What a consumer is started from.
pub(super) struct Context<'a> {
    pub(super) settings: &'a KafkaSettings,
    pub(super) arguments: &'a Arguments,
    pub(super) store: Option<Store>,
    pub(super) tasks: &'a Tasks,
    pub(super) stop: CancellationToken,
}

/// A parcel, and the topic that it was read from: a retry topic is another place of the same record.
struct Parcelled {
    envelope: Envelope<ParcelEvent>,
    read_from: TopicName,
}

impl Message for Parcelled {
    fn read(record: &RawRecord) -> Result<Self, Unreadable> {
        let envelope = Envelope::read(record)?;
        Ok(Self { envelope, read_from: record.topic().clone() })
    }

    fn id(&self) -> Option<Uuid> {
        Some(self.envelope.id)
    }
}

impl Context<'_> {
    /// Starts the consumer, and notes what happens to its partitions.
    pub(super) fn start(self, sorter: Arc<Sorter>, notes: Notes) -> Result<ConsumerHandle> {
        let handler = each(move |delivery: Delivery<Parcelled>| {
            let sorter = Arc::clone(&sorter);
            async move { sort(&sorter, delivery).await }
        });
        let mode = match self.arguments.mode {
            ModeKind::KeyShared => Mode::KeyShared,
            ModeKind::Failover => Mode::Failover,
            ModeKind::Shared => Mode::Shared,
            ModeKind::Exclusive => Mode::Exclusive { instance_id: "drill".to_owned() },
        };
        let mut consumer = Consumer::new(GROUP, PARCELS, handler)
            .mode(mode)
            .concurrency(self.arguments.concurrency);
        if let Some(store) = self.store {
            consumer = match self.arguments.sink {
                SinkKind::Epochs => consumer.epochs(Arc::new(Epochs::new(store.pool))),
                SinkKind::Inbox | SinkKind::Notes => {
                    let letters = DeadLetters::new(store.pool).waking(store.waker);
                    consumer.dead_letters(Arc::new(letters))
                }
            };
        }
        let handle = consumer.start(self.settings, self.tasks, self.stop)?;
        // The first assignment takes a round trip, so nothing has happened yet that this misses.
        self.tasks.spawn("ownership", note_ownership(handle.events(), notes));
        Ok(handle)
    }
}

async fn sort(sorter: &Sorter, delivery: Delivery<Parcelled>) -> Outcome {
    let ParcelEvent::Sent(parcel) = &delivery.message.envelope.payload;
    let work = Work {
        id: delivery.message.envelope.id,
        key: &parcel.key,
        seq: parcel.seq,
        topic: delivery.message.read_from.as_str(),
        partition: delivery.partition,
        offset: delivery.offset,
        delivered: delivery.attempt,
        epoch: delivery.epoch.as_ref(),
        context: &delivery.context,
    };
    match sorter.sort(work).await {
        Word::Done => Outcome::Done,
        Word::Again(error @ (SinkError::Stale | SinkError::NoEpoch)) => {
            Outcome::retry(&codes::STALE_EPOCH, error)
        }
        Word::Again(error) => Outcome::retry(&FATED, error),
        Word::GiveUp => Outcome::dead(&HOPELESS, "the record can't succeed"),
    }
}

/// Ends with the consumer.
async fn note_ownership(mut events: broadcast::Receiver<ConsumerEvent>, notes: Notes) {
    loop {
        match events.recv().await {
            Ok(event) => note_event(&notes, event),
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "events were missed"),
            Err(RecvError::Closed) => return,
        }
    }
}

fn note_event(notes: &Notes, event: ConsumerEvent) {
    let topic = || PARCELS.to_string();
    let note = |partitions: Vec<i32>, what: fn(String, i32) -> What| {
        partitions.into_iter().for_each(|partition| notes.note(what(topic(), partition)));
    };
    match event {
        ConsumerEvent::Assigned { partitions } => {
            note(partitions, |topic, partition| What::Assigned { topic, partition });
        }
        ConsumerEvent::Revoked { partitions } => {
            note(partitions, |topic, partition| What::Revoked { topic, partition });
        }
        ConsumerEvent::Lost { partitions } => {
            note(partitions, |topic, partition| What::Lost { topic, partition });
        }
        other @ (ConsumerEvent::Evicted
        | ConsumerEvent::Fenced
        | ConsumerEvent::Stalled { .. }
        | ConsumerEvent::Recovered) => tracing::info!(?other, "the consumer tells"),
    }
}
