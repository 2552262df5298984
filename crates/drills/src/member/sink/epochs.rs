//! A sink that has no inbox and asks for the owner's epoch in the transaction of its write.
//!
//! The write is a task of its own, which a handler that is dropped doesn't take with it: what is on the wire can't be
//! called back either, and that is what the epoch is for.

use std::sync::Arc;

use millrace_messaging::Epoch;
use millrace_outbox::epoch;
use millrace_runtime::Tasks;
use millrace_runtime::sabotage::{CrashPoint, crash_point};
use sqlx::PgPool;
use tokio::sync::oneshot;

use super::super::gate::Gate;
use super::freeze::Freeze;
use super::rows::{Effect, effect_insert, lane_lock};
use super::{SinkError, Work};

pub(crate) struct EpochSink {
    pool: PgPool,
    tasks: Tasks,
    member: String,
    gate: Gate,
    freeze: Arc<Freeze>,
}

impl EpochSink {
    pub(super) fn new(
        pool: PgPool,
        tasks: Tasks,
        member: String,
        gate: Gate,
        freeze: Freeze,
    ) -> Self {
        Self { pool, tasks, member, gate, freeze: Arc::new(freeze) }
    }

    pub(super) async fn take(&self, work: &Work<'_>) -> Result<(), SinkError> {
        let epoch = work.epoch.ok_or(SinkError::NoEpoch)?.clone();
        let write = Write {
            effect: Effect::of(work, &self.member, Some(epoch.number), None),
            epoch,
            pool: self.pool.clone(),
            freeze: Arc::clone(&self.freeze),
        };
        let (told, answer) = oneshot::channel();
        let (gate, offset) = (self.gate.clone(), work.offset);
        drop(self.tasks.spawn("effect", async move {
            gate.pass(offset).await;
            // Nobody listens when the handler was given up.
            drop(told.send(write.make().await));
        }));
        answer.await.unwrap_or(Err(SinkError::Gone))
    }
}

struct Write {
    effect: Effect,
    epoch: Epoch,
    pool: PgPool,
    freeze: Arc<Freeze>,
}

impl Write {
    async fn make(self) -> Result<(), SinkError> {
        let mut transaction = self.pool.begin().await?;
        if !epoch::check(&mut transaction, &self.epoch).await? {
            return Err(SinkError::Stale);
        }
        lane_lock(&mut transaction, &format!("{}/{}", self.effect.topic, self.effect.partition))
            .await?;
        effect_insert(&mut transaction, &self.effect).await?;
        self.freeze.pass();
        crash_point(CrashPoint::BeforeStateCommit);
        transaction.commit().await?;
        crash_point(CrashPoint::AfterStateCommit);
        Ok(())
    }
}
