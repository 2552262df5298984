//! Tasks that a release brings with it.

use millrace_outbox::StoreError;

use super::edit::{edit, make};
use super::view::Origin;
use super::{Author, Change, ScheduleError, Schedules};
use crate::store::tasks;
use crate::task::{TaskForm, TaskId, TaskSpec};

/// A task that is part of a release.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// Its name.
    pub id: TaskId,
    /// What it is.
    pub form: TaskForm,
}

impl Schedules {
    /// Makes the tasks of origin `code` those that are given: new ones are made, changed ones get their form, and those
    /// that no release declares any more are removed. A task that is as declared is not touched, so a restart misses
    /// nothing. While two releases run side by side the one that started last has its way.
    ///
    /// # Errors
    /// When a form makes no sense, or the database fails; nothing is changed then.
    pub async fn declare(&self, declared: &[Declared]) -> Result<(), ScheduleError> {
        let mut ordered: Vec<(&TaskId, TaskSpec)> = Vec::with_capacity(declared.len());
        for Declared { id, form } in declared {
            ordered.push((id, TaskSpec::try_from_form(form.clone())?));
        }
        // In the order of names, so that two instances that start at once wait for each other and don't deadlock.
        ordered.sort_by(|one, other| one.0.cmp(other.0));
        let mut transaction = self.begin().await?;
        let at = tasks::now(&mut transaction).await.map_err(StoreError)?;
        let mut changes = Vec::new();
        let change = |task: &TaskId, version, what| Change {
            task: task.clone(),
            version,
            by: Author::Release,
            at,
            what,
        };
        for (id, spec) in &ordered {
            let (row, what) = match make(&mut transaction, id, Origin::Code, spec, at).await {
                Ok(made) => made,
                Err(ScheduleError::Conflict { .. }) => {
                    let before = tasks::lock(&mut transaction, id.as_str()).await;
                    let Some(before) = before.map_err(StoreError)? else { continue };
                    let form: Option<TaskForm> = serde_json::from_str(&before.spec).ok();
                    let same = form.as_ref() == Some(spec.form());
                    if same && before.origin == Origin::Code.as_str() {
                        continue;
                    }
                    edit(&mut transaction, id, Origin::Code, &before, spec, at).await?
                }
                Err(error) => return Err(error),
            };
            changes.push(change(id, row.version, what));
        }
        let ids: Vec<&str> = ordered.iter().map(|(id, _)| id.as_str()).collect();
        let gone = tasks::others(&mut transaction, Origin::Code.as_str(), &ids).await;
        for name in gone.map_err(StoreError)? {
            let row = tasks::lock(&mut transaction, &name).await.map_err(StoreError)?;
            let (Some(row), Ok(id)) = (row, TaskId::parse(&name)) else { continue };
            tasks::remove(&mut transaction, &name).await.map_err(StoreError)?;
            changes.push(change(&id, row.version, super::Changed::Removed));
        }
        self.commit(transaction, &changes).await
    }
}
