//! Making, changing, removing, pausing and resuming a task.

use chrono::{DateTime, Utc};
use millrace_outbox::StoreError;
use sqlx::{Postgres, Transaction};

use super::view::{self, Origin, Task};
use super::{Change, Changed, ScheduleError, Schedules, locked};
use crate::store::tasks::{self, TaskRow};
use crate::task::{TaskForm, TaskId, TaskSpec};

/// Characters of a note at most.
const NOTE_LENGTH_MAX: usize = 1_000;

impl Schedules {
    /// Makes a task (`expected` is `None`), or gives one another form. Its next instant is the first one from now on:
    /// what the old form had not begun by now is not made up for.
    ///
    /// # Errors
    /// When the form makes no sense, the version isn't the expected one, or the task is declared in code.
    pub async fn put(
        &self,
        id: &TaskId,
        form: TaskForm,
        expected: Option<i64>,
        by: &str,
    ) -> Result<Task, ScheduleError> {
        let spec = TaskSpec::try_from_form(form)?;
        let mut transaction = self.begin().await?;
        let at = tasks::now(&mut transaction).await.map_err(StoreError)?;
        let (row, what) = match expected {
            None => make(&mut transaction, id, Origin::Operator, &spec, at).await?,
            Some(version) => {
                let before = match locked(&mut transaction, id, Some(version)).await {
                    Ok(row) => row,
                    // Gone is changed, for somebody who has seen it.
                    Err(ScheduleError::Unknown { id }) => {
                        let (expected, actual) = (version, None);
                        return Err(ScheduleError::Conflict { id, expected, actual });
                    }
                    Err(error) => return Err(error),
                };
                not_in_code(id, &before)?;
                edit(&mut transaction, id, Origin::Operator, &before, &spec, at).await?
            }
        };
        let task = view::task(row)?;
        let change = Change { task: id.clone(), version: task.version, by: by.into(), at, what };
        self.commit(transaction, &[change]).await?;
        Ok(task)
    }

    /// Removes a task and ends what is open of it: what waits is cancelled, and what a worker has may write no more.
    /// Its history stays until it is old.
    ///
    /// # Errors
    /// When the version isn't the expected one, or the task is declared in code.
    pub async fn remove(&self, id: &TaskId, expected: i64, by: &str) -> Result<(), ScheduleError> {
        let mut transaction = self.begin().await?;
        let row = locked(&mut transaction, id, Some(expected)).await?;
        not_in_code(id, &row)?;
        let at = tasks::now(&mut transaction).await.map_err(StoreError)?;
        tasks::remove(&mut transaction, id.as_str()).await.map_err(StoreError)?;
        let what = Changed::Removed;
        let change = Change { task: id.clone(), version: row.version, by: by.into(), at, what };
        self.commit(transaction, &[change]).await
    }

    /// Lets nothing new begin. What is open goes on, and is tried again if it fails.
    ///
    /// # Errors
    /// When there is no such task, its version isn't the expected one (if one is), or the note is missing.
    pub async fn pause(
        &self,
        id: &TaskId,
        note: &str,
        expected: Option<i64>,
        by: &str,
    ) -> Result<Task, ScheduleError> {
        let length = note.chars().count();
        if note.trim().is_empty() || length > NOTE_LENGTH_MAX || note.contains('\0') {
            return Err(ScheduleError::Note { max: NOTE_LENGTH_MAX });
        }
        let mut transaction = self.begin().await?;
        locked(&mut transaction, id, expected).await?;
        let at = tasks::now(&mut transaction).await.map_err(StoreError)?;
        let row =
            tasks::pause(&mut transaction, id.as_str(), note, by).await.map_err(StoreError)?;
        let task = view::task(row)?;
        let what = Changed::Paused { note: note.to_owned() };
        let change = Change { task: id.clone(), version: task.version, by: by.into(), at, what };
        self.commit(transaction, &[change]).await?;
        Ok(task)
    }

    /// Lets it go on from now: what would have begun while it was paused is not made up for. One that isn't paused
    /// stays as it is.
    ///
    /// # Errors
    /// When there is no such task, or its version isn't the expected one (if one is).
    pub async fn resume(
        &self,
        id: &TaskId,
        expected: Option<i64>,
        by: &str,
    ) -> Result<Task, ScheduleError> {
        let mut transaction = self.begin().await?;
        let row = locked(&mut transaction, id, expected).await?;
        if row.paused_at.is_none() {
            return view::task(row);
        }
        let spec = spec_of(&row)?;
        let at = tasks::now(&mut transaction).await.map_err(StoreError)?;
        let next_at = spec.recurrence().next_after(at);
        let row =
            tasks::resume(&mut transaction, id.as_str(), next_at).await.map_err(StoreError)?;
        let task = view::task(row)?;
        let what = Changed::Resumed;
        let change = Change { task: id.clone(), version: task.version, by: by.into(), at, what };
        self.commit(transaction, &[change]).await?;
        Ok(task)
    }
}

pub(super) async fn make(
    transaction: &mut Transaction<'static, Postgres>,
    id: &TaskId,
    origin: Origin,
    spec: &TaskSpec,
    at: DateTime<Utc>,
) -> Result<(TaskRow, Changed), ScheduleError> {
    let text = stored(spec);
    let which = (id.as_str(), origin.as_str(), text.as_str());
    let next_at = spec.recurrence().next_after(at);
    let row = tasks::insert(transaction, which, next_at).await.map_err(StoreError)?;
    let Some(row) = row else {
        let standing = tasks::get(transaction, id.as_str()).await.map_err(StoreError)?;
        let actual = standing.map(|row| row.version);
        return Err(ScheduleError::Conflict { id: id.clone(), expected: 0, actual });
    };
    Ok((row, Changed::Made { form: Box::new(spec.form().clone()) }))
}

/// Changes a locked task. A paused one keeps its pause.
pub(super) async fn edit(
    transaction: &mut Transaction<'static, Postgres>,
    id: &TaskId,
    origin: Origin,
    before: &TaskRow,
    spec: &TaskSpec,
    at: DateTime<Utc>,
) -> Result<(TaskRow, Changed), ScheduleError> {
    let text = stored(spec);
    let which = (id.as_str(), origin.as_str(), text.as_str());
    let next_at = spec.recurrence().next_after(at);
    let row = tasks::change(transaction, which, next_at).await.map_err(StoreError)?;
    let before = serde_json::from_str(&before.spec).ok().map(Box::new);
    Ok((row, Changed::Edited { before, after: Box::new(spec.form().clone()) }))
}

fn not_in_code(id: &TaskId, row: &TaskRow) -> Result<(), ScheduleError> {
    if row.origin == Origin::Code.as_str() {
        return Err(ScheduleError::DeclaredInCode { id: id.clone() });
    }
    Ok(())
}

fn stored(spec: &TaskSpec) -> String {
    serde_json::to_string(spec.form()).expect("texts, numbers and a JSON value are always JSON")
}

pub(super) fn spec_of(row: &TaskRow) -> Result<TaskSpec, ScheduleError> {
    let unreadable = |source| ScheduleError::Unreadable { id: row.id.clone(), source };
    let form: TaskForm =
        serde_json::from_str(&row.spec).map_err(|error| unreadable(Box::from(error)))?;
    TaskSpec::try_from_form(form).map_err(|refused| unreadable(Box::from(refused)))
}
