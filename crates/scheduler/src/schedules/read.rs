//! Looking at tasks: what they are, what they will do, what they did.

use chrono::{DateTime, Utc};
use millrace_outbox::StoreError;

use super::edit::spec_of;
use super::view::{self, Occurrence, Page, Task};
use super::{ScheduleError, Schedules};
use crate::store::state::OccurrenceState;
use crate::store::{history, tasks};
use crate::task::{TaskForm, TaskId, TaskSpec};

/// Items of a page at most; larger wishes are cut to it.
pub const PAGE_MAX: u16 = 200;
/// Instants of a forecast at most.
pub const FORECAST_MAX: u16 = 100;

impl Schedules {
    /// Tasks in the order of their names, behind `after`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list(
        &self,
        after: Option<&TaskId>,
        limit: u16,
    ) -> Result<Page<Task, TaskId>, ScheduleError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let mut conn = self.pool.acquire().await.map_err(StoreError)?;
        let after = after.map_or("", TaskId::as_str);
        let rows = tasks::page(&mut conn, after, limit + 1).await.map_err(StoreError)?;
        let mut items = rows.into_iter().map(view::task).collect::<Result<Vec<_>, _>>()?;
        let next = cut(&mut items, limit, |task| task.id.clone());
        Ok(Page { items, next })
    }

    /// One task.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn get(&self, id: &TaskId) -> Result<Task, ScheduleError> {
        let mut conn = self.pool.acquire().await.map_err(StoreError)?;
        let row = tasks::get(&mut conn, id.as_str()).await.map_err(StoreError)?;
        view::task(row.ok_or_else(|| ScheduleError::Unknown { id: id.clone() })?)
    }

    /// The next instants of a task's schedule, as if it weren't paused.
    ///
    /// # Errors
    /// When there is no such task, or more than [`FORECAST_MAX`] are asked for.
    pub async fn next(&self, id: &TaskId, count: u16) -> Result<Vec<DateTime<Utc>>, ScheduleError> {
        let mut conn = self.pool.acquire().await.map_err(StoreError)?;
        let row = tasks::get(&mut conn, id.as_str()).await.map_err(StoreError)?;
        let row = row.ok_or_else(|| ScheduleError::Unknown { id: id.clone() })?;
        let now = tasks::now(&mut conn).await.map_err(StoreError)?;
        forecast(&spec_of(&row)?, now, count)
    }

    /// The next instants of a form that is kept nowhere.
    ///
    /// # Errors
    /// When it makes no sense, or more than [`FORECAST_MAX`] are asked for.
    pub async fn dry_run(
        &self,
        form: TaskForm,
        count: u16,
    ) -> Result<Vec<DateTime<Utc>>, ScheduleError> {
        let spec = TaskSpec::try_from_form(form)?;
        let mut conn = self.pool.acquire().await.map_err(StoreError)?;
        let now = tasks::now(&mut conn).await.map_err(StoreError)?;
        forecast(&spec, now, count)
    }

    /// Occurrences of a task before an instant, the last ones first. A removed task's are there too.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn history(
        &self,
        id: &TaskId,
        before: Option<DateTime<Utc>>,
        state: Option<OccurrenceState>,
        limit: u16,
    ) -> Result<Page<Occurrence, DateTime<Utc>>, ScheduleError> {
        // A year that PostgreSQL knows and no task reaches.
        const END_SECOND: i64 = 300_000_000_000;
        let limit = limit.clamp(1, PAGE_MAX);
        let before = before.or_else(|| DateTime::from_timestamp(END_SECOND, 0)).unwrap_or_default();
        let mut conn = self.pool.acquire().await.map_err(StoreError)?;
        let state = state.map(OccurrenceState::as_str);
        let rows = history::page(&mut conn, id.as_str(), before, state, limit + 1).await;
        let rows = rows.map_err(StoreError)?;
        let mut items = rows.into_iter().map(view::occurrence).collect::<Result<Vec<_>, _>>()?;
        let next = cut(&mut items, limit, |occurrence| occurrence.instant);
        Ok(Page { items, next })
    }
}

/// Cuts what was read beyond the limit; where the next part begins if there was something.
fn cut<T, C>(items: &mut Vec<T>, limit: u16, cursor: impl Fn(&T) -> C) -> Option<C> {
    let more = items.len() > usize::from(limit);
    items.truncate(usize::from(limit));
    items.last().filter(|_| more).map(cursor)
}

fn forecast(
    spec: &TaskSpec,
    now: DateTime<Utc>,
    count: u16,
) -> Result<Vec<DateTime<Utc>>, ScheduleError> {
    if !(1..=FORECAST_MAX).contains(&count) {
        return Err(ScheduleError::Forecast);
    }
    Ok(spec.recurrence().after(now).take(usize::from(count)).collect())
}
