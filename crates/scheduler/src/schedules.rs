//! The verbs for tasks: what operators, an API and the service itself do to them.
//!
//! Each change is one transaction that locks the task, compares its version, writes, and appends what the service's
//! [`ChangeJournal`] makes of it to the outbox. A task declared in code can be paused, triggered and backfilled, and
//! changed only by a release.

mod ask;
mod change;
mod declare;
mod edit;
mod error;
mod read;
mod view;

use std::sync::Arc;

use millrace_outbox::{RelayWaker, StoreError, append};
use sqlx::{PgPool, Postgres, Transaction};

pub use ask::{BACKFILL_MAX, Backfill};
pub use change::{Author, Change, ChangeJournal, Changed};
pub use declare::Declared;
pub use error::ScheduleError;
pub use read::{FORECAST_MAX, PAGE_MAX};
pub use view::{Missed, Occurrence, Origin, Page, Paused, Task};

use crate::dispatch::ScheduleWaker;
use crate::store::tasks::{self, TaskRow};
use crate::task::TaskId;

/// The tasks of a service. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Schedules {
    pool: PgPool,
    waker: ScheduleWaker,
    relay: RelayWaker,
    journal: Arc<dyn ChangeJournal>,
}

impl Schedules {
    /// Over the service's database. The dispatcher is woken after each change, the relay with it.
    #[must_use]
    pub fn new(
        pool: PgPool,
        waker: ScheduleWaker,
        relay: RelayWaker,
        journal: Arc<dyn ChangeJournal>,
    ) -> Self {
        Self { pool, waker, relay, journal }
    }

    async fn begin(&self) -> Result<Transaction<'static, Postgres>, ScheduleError> {
        Ok(self.pool.begin().await.map_err(StoreError)?)
    }

    /// Writes the change into the journal, commits, and tells who has to know.
    async fn commit(
        &self,
        mut transaction: Transaction<'static, Postgres>,
        changes: &[Change],
    ) -> Result<(), ScheduleError> {
        let mut records = Vec::with_capacity(changes.len());
        for change in changes {
            records.extend(self.journal.record(change)?);
        }
        append(&mut transaction, &records).await.map_err(StoreError)?;
        transaction.commit().await.map_err(StoreError)?;
        self.waker.wake();
        if !records.is_empty() {
            self.relay.wake();
        }
        Ok(())
    }
}

/// The task, locked and in the version that the caller has seen.
async fn locked(
    transaction: &mut Transaction<'static, Postgres>,
    id: &TaskId,
    expected: Option<i64>,
) -> Result<TaskRow, ScheduleError> {
    let row = tasks::lock(transaction, id.as_str()).await.map_err(StoreError)?;
    let row = row.ok_or_else(|| ScheduleError::Unknown { id: id.clone() })?;
    match expected {
        Some(expected) if expected != row.version => {
            Err(ScheduleError::Conflict { id: id.clone(), expected, actual: Some(row.version) })
        }
        Some(_) | None => Ok(row),
    }
}
