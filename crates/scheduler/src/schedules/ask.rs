//! Occurrences that somebody asks for: one now, or those of a range of the past.

use chrono::{DateTime, TimeDelta, Utc};
use millrace_outbox::StoreError;
use sqlx::{Postgres, Transaction};

use super::edit::spec_of;
use super::{Change, Changed, ScheduleError, Schedules, locked};
use crate::policy::Overlap;
use crate::store::history;
use crate::store::state::OccurrenceKind;
use crate::store::tasks::{self, TaskRow};
use crate::task::TaskId;

/// Occurrences that one backfill makes at most.
pub const BACKFILL_MAX: u32 = 10_000;

/// A range of the past to be worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backfill {
    /// The first instant that counts.
    pub from: DateTime<Utc>,
    /// The last instant that counts; not in the future.
    pub to: DateTime<Utc>,
    /// How many occurrences the caller expects at most; a range with more is refused as a whole.
    pub max: u32,
    /// What they do while another is open: one after another, unless somebody says otherwise.
    pub overlap: Overlap,
}

impl Backfill {
    /// A range whose occurrences are worked on one after another.
    #[must_use]
    pub fn of(from: DateTime<Utc>, to: DateTime<Utc>, max: u32) -> Self {
        Self { from, to, max, overlap: Overlap::BufferAll }
    }
}

impl Schedules {
    /// Makes an occurrence that is due now. The overlap policy applies to it as to any other. Answers its instant.
    ///
    /// # Errors
    /// When there is no such task, or it is paused.
    pub async fn trigger(&self, id: &TaskId, by: &str) -> Result<DateTime<Utc>, ScheduleError> {
        let (mut transaction, row, mut instant) = self.asked(id).await?;
        let at = instant;
        let kind = OccurrenceKind::Manual.as_str();
        // The instant may be taken, by the schedule or by another one who asked: then it is the next millisecond's.
        while history::ask_for(&mut transaction, id.as_str(), &[instant], kind, None)
            .await
            .map_err(StoreError)?
            == 0
        {
            instant += TimeDelta::milliseconds(1);
        }
        let what = Changed::Triggered { instant };
        let change = Change { task: id.clone(), version: row.version, by: by.into(), at, what };
        tasks::look_now(&mut transaction, id.as_str()).await.map_err(StoreError)?;
        self.commit(transaction, &[change]).await?;
        Ok(instant)
    }

    /// Makes the occurrences of a range that never happened: new ones, missed ones and those that were left out.
    /// Answers how many.
    ///
    /// # Errors
    /// When there is no such task, it is paused, or the range has more occurrences than the caller allowed for.
    pub async fn backfill(
        &self,
        id: &TaskId,
        range: Backfill,
        by: &str,
    ) -> Result<u64, ScheduleError> {
        let Backfill { from, to, max, overlap } = range;
        if !(1..=BACKFILL_MAX).contains(&max) {
            return Err(ScheduleError::Limit);
        }
        let (mut transaction, row, at) = self.asked(id).await?;
        // The time is cut to milliseconds, and what a caller just read from the same clock may not be.
        if from > to || to.timestamp_millis() > at.timestamp_millis() {
            return Err(ScheduleError::Range);
        }
        let spec = spec_of(&row)?;
        let most = usize::try_from(max).unwrap_or(usize::MAX);
        let before = from - TimeDelta::milliseconds(1);
        let within = spec.recurrence().after(before).take_while(|instant| *instant <= to);
        // One more than allowed is enough to know, however long the range.
        let instants: Vec<DateTime<Utc>> = within.take(most.saturating_add(1)).collect();
        if instants.len() > most {
            return Err(ScheduleError::TooMany { max });
        }
        let (kind, word) = (OccurrenceKind::Backfill.as_str(), Some(overlap.as_str()));
        let asked = history::ask_for(&mut transaction, id.as_str(), &instants, kind, word);
        let occurrences = asked.await.map_err(StoreError)?;
        let what = Changed::Backfilled { from, to, occurrences, overlap };
        let change = Change { task: id.clone(), version: row.version, by: by.into(), at, what };
        tasks::look_now(&mut transaction, id.as_str()).await.map_err(StoreError)?;
        self.commit(transaction, &[change]).await?;
        Ok(occurrences)
    }

    /// The task, locked and not paused, and the database's time.
    async fn asked(
        &self,
        id: &TaskId,
    ) -> Result<(Transaction<'static, Postgres>, TaskRow, DateTime<Utc>), ScheduleError> {
        let mut transaction = self.begin().await?;
        let row = locked(&mut transaction, id, None).await?;
        if row.paused_at.is_some() {
            return Err(ScheduleError::Paused { id: id.clone() });
        }
        let at = tasks::now(&mut transaction).await.map_err(StoreError)?;
        Ok((transaction, row, at))
    }
}
