//! One attempt in a worker's hands: what it is about, and the only way to write that is refused when it must be.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use millrace_envelope::MessageContext;
use millrace_outbox::StoreError;
use millrace_resilience::{Class, Classify};
use millrace_runtime::CancellationToken;
use millrace_runtime::sabotage::{CrashPoint, crash_point};
use serde_json::Value;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use crate::metrics;
use crate::store::runs::{self, RunKey};

/// Why a run did not write.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The occurrence is no longer this run's: another took over, it was terminated, or its time is up.
    #[error("run {run} of task `{task}` may no longer write")]
    Refused {
        /// The task.
        task: String,
        /// The run's number.
        run: i64,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for RunError {
    fn class(&self) -> Class {
        match self {
            // Whoever has the occurrence now decides what becomes of it.
            Self::Refused { .. } => Class::Permanent,
            Self::Store(error) => error.class(),
        }
    }
}

/// One attempt of an occurrence. Cloning shares it.
#[derive(Debug, Clone)]
pub struct TaskRun(Arc<Attempt>);

#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) key: RunKey,
    pub(crate) attempt: i32,
    pub(crate) payload: Value,
    pub(crate) context: MessageContext,
    pub(crate) pool: PgPool,
    pub(crate) asked_to_end: CancellationToken,
    pub(crate) finished: AtomicBool,
}

/// A transaction that only a run which still has its occurrence was given. The occurrence stays locked until it ends.
#[derive(Debug)]
pub struct RunTransaction(Transaction<'static, Postgres>);

impl TaskRun {
    pub(crate) fn new(attempt: Attempt) -> Self {
        Self(Arc::new(attempt))
    }

    /// The task's name.
    #[must_use]
    pub fn task(&self) -> &str {
        &self.0.key.task
    }

    /// The occurrence: when it was due.
    #[must_use]
    pub fn instant(&self) -> DateTime<Utc> {
        self.0.key.instant
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> i32 {
        self.0.attempt
    }

    /// The proof of this run; it rises with every worker that takes the occurrence.
    #[must_use]
    pub fn number(&self) -> i64 {
        self.0.key.run
    }

    /// What the task says to its handler.
    #[must_use]
    pub fn payload(&self) -> &Value {
        &self.0.payload
    }

    /// For what the work sends on: the trace is this attempt's, the cause is its message.
    #[must_use]
    pub fn context(&self) -> &MessageContext {
        &self.0.context
    }

    /// Cancelled when the occurrence was asked to end. Come to an end then: some seconds later the work is dropped.
    #[must_use]
    pub fn cancelled(&self) -> CancellationToken {
        self.0.asked_to_end.clone()
    }

    /// Begins a transaction and proves in it that the occurrence is still this run's. All that the work writes goes
    /// through such transactions; keep them short, nobody can end the occurrence meanwhile.
    ///
    /// # Errors
    /// When it is no longer this run's, or the database fails.
    pub async fn begin(&self) -> Result<RunTransaction, RunError> {
        let mut transaction = self.0.pool.begin().await.map_err(StoreError)?;
        if runs::prove(&mut transaction, &self.0.key).await.map_err(StoreError)? {
            return Ok(RunTransaction(transaction));
        }
        Err(self.refused())
    }

    /// Ends the occurrence as done and commits: with what the transaction wrote, or not at all.
    ///
    /// # Errors
    /// When the database fails. After a failed commit it may have happened; whoever looks next sees whether.
    pub async fn finish(&self, transaction: RunTransaction) -> Result<(), RunError> {
        let mut transaction = transaction.0;
        if !runs::done(&mut transaction, &self.0.key).await.map_err(StoreError)? {
            return Err(self.refused());
        }
        crash_point(CrashPoint::BeforeStateCommit);
        transaction.commit().await.map_err(StoreError)?;
        crash_point(CrashPoint::AfterStateCommit);
        self.0.finished.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn finished(&self) -> bool {
        self.0.finished.load(Ordering::Acquire)
    }

    fn refused(&self) -> RunError {
        metrics::REFUSED_WRITES.inc();
        let RunKey { task, run, .. } = &self.0.key;
        tracing::warn!(task.id = task, run, "a write of a run of task `{task}` was refused");
        RunError::Refused { task: task.clone(), run: *run }
    }
}

impl RunTransaction {
    /// Commits a part of the work; the occurrence goes on, and a repeat of it must know what was done.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn commit(self) -> Result<(), RunError> {
        Ok(self.0.commit().await.map_err(StoreError)?)
    }
}

impl Deref for RunTransaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.0
    }
}

impl DerefMut for RunTransaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}
