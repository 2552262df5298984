//! Where effects go.
//!
//! [`Sink::Inbox`] is what the product promises most for: the inbox row, the effect, and what it emits are one
//! commit. [`Sink::Epochs`] has no inbox and asks for the owner's epoch in the transaction of its write.
//! [`Sink::Notes`] writes without asking anybody.

mod epochs;
mod freeze;
mod rows;

use millrace_checker::What;
use millrace_envelope::Envelope;
use millrace_messaging::Producer;
use millrace_outbox::{OutboxRecord, RelayWaker, append, inbox_claim};
use millrace_resilience::{Class, Classify};
use millrace_runtime::sabotage::{self, CrashPoint, Switch, crash_point};
use millrace_runtime::{Clock, Tasks};
use sqlx::PgPool;
use uuid::Uuid;

use super::gate::Gate;
use super::sorter::Work;
use super::{Arguments, SinkKind, Store};
use crate::notes::Notes;
use crate::parcel::{GROUP, NoticeEvent, Parcel};
use epochs::EpochSink;
use freeze::Freeze;
use rows::{Effect, effect_insert, lane_lock};

/// Why a record did not take effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SinkError {
    /// The record's fate is to fail now.
    #[error("this attempt is fated to fail")]
    Fated,
    /// The database said no, or nothing.
    #[error("the effect was not written")]
    Database(#[from] sqlx::Error),
    /// What the effect emits can't be written.
    #[error("the notice was not written")]
    Encode(#[from] millrace_outbox::EncodeError),
    /// Somebody else owns the partition.
    #[error("the epoch is stale")]
    Stale,
    /// The consumer handed over no epoch.
    #[error("there is no epoch")]
    NoEpoch,
    /// The task that wrote it is gone.
    #[error("the write ended without a word")]
    Gone,
    /// A sabotaged publish failed.
    #[error("the notice was not published")]
    Publish(#[from] millrace_messaging::PublishError),
    /// A sabotaged publish could not be written.
    #[error("the notice is no JSON")]
    Json(#[from] serde_json::Error),
}

impl Classify for SinkError {
    fn class(&self) -> Class {
        Class::Transient
    }
}

/// Each holds its records at the gate first.
pub(crate) enum Sink {
    Notes(Gate),
    Inbox(InboxSink),
    Epochs(EpochSink),
}

pub(crate) struct InboxSink {
    gate: Gate,
    pool: PgPool,
    waker: RelayWaker,
    producer: Producer,
    member: String,
    clock: Clock,
    freeze: Freeze,
}

impl Sink {
    pub(crate) fn new(
        arguments: &Arguments,
        store: Option<&Store>,
        producer: &Producer,
        tasks: &Tasks,
    ) -> Self {
        let freeze = Freeze::at(arguments.freeze_before_commit);
        let gate = arguments.gate.clone();
        match (arguments.sink, store) {
            (SinkKind::Inbox, Some(store)) => Self::Inbox(InboxSink {
                gate,
                pool: store.pool.clone(),
                waker: store.waker.clone(),
                producer: producer.clone(),
                member: arguments.name.clone(),
                clock: Clock::system(),
                freeze,
            }),
            (SinkKind::Epochs, Some(store)) => {
                let (pool, member) = (store.pool.clone(), arguments.name.clone());
                Self::Epochs(EpochSink::new(pool, tasks.clone(), member, gate, freeze))
            }
            (SinkKind::Notes | SinkKind::Inbox | SinkKind::Epochs, _) => Self::Notes(gate),
        }
    }

    pub(crate) async fn take(&self, work: &Work<'_>, notes: &Notes) -> Result<(), SinkError> {
        match self {
            Self::Notes(gate) => {
                gate.pass(work.offset).await;
                let epoch = work.epoch.map(|epoch| epoch.number);
                notes.note(What::Effect { id: work.id, epoch });
                Ok(())
            }
            Self::Inbox(sink) => sink.take(work).await,
            Self::Epochs(sink) => sink.take(work).await,
        }
    }
}

impl InboxSink {
    async fn take(&self, work: &Work<'_>) -> Result<(), SinkError> {
        self.gate.pass(work.offset).await;
        let mut transaction = self.pool.begin().await?;
        let new = inbox_claim(&mut transaction, GROUP, &[work.id]).await?;
        if new.contains(&work.id) {
            let notice = self.notice(work);
            let record = OutboxRecord::of_envelope(&notice, work.context)?;
            lane_lock(&mut transaction, work.key).await?;
            let effect = Effect::of(work, &self.member, None, Some(notice.id));
            effect_insert(&mut transaction, &effect).await?;
            if sabotage::on(Switch::PublishBeforeCommit) {
                self.producer.publish(&notice.encode(work.context)?).await?;
            } else {
                append(&mut transaction, &[record]).await?;
            }
            self.freeze.pass();
        }
        crash_point(CrashPoint::BeforeStateCommit);
        transaction.commit().await?;
        crash_point(CrashPoint::AfterStateCommit);
        self.waker.wake();
        Ok(())
    }

    fn notice(&self, work: &Work<'_>) -> Envelope<NoticeEvent> {
        let event = NoticeEvent::Made(Parcel { key: work.key.to_owned(), seq: work.seq });
        Envelope::new(Uuid::now_v7(), "drill", self.clock.now_ms(), event)
    }
}
