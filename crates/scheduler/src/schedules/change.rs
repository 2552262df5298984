//! Changes of tasks, for the service's journal.

use chrono::{DateTime, Utc};
use millrace_outbox::{EncodeError, OutboxRecord};

use crate::policy::Overlap;
use crate::task::{TaskForm, TaskId};

/// One change of one task.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The task.
    pub task: TaskId,
    /// Its version after the change; before it when the task was removed.
    pub version: i64,
    /// Who did it.
    pub by: Author,
    /// When, by the database's clock.
    pub at: DateTime<Utc>,
    /// What was done.
    pub what: Changed,
}

/// Who changes a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Author {
    /// A release, which brings its tasks with it.
    Release,
    /// Somebody by name: the subject of a token, as a rule.
    Principal(String),
}

impl From<&str> for Author {
    fn from(name: &str) -> Self {
        Self::Principal(name.to_owned())
    }
}

/// What was done to a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Changed {
    /// It was made.
    Made {
        /// How.
        form: Box<TaskForm>,
    },
    /// It got another form.
    Edited {
        /// The one it had, if this release could read it.
        before: Option<Box<TaskForm>>,
        /// The one it has.
        after: Box<TaskForm>,
    },
    /// It is gone, and what was open of it has ended.
    Removed,
    /// Nothing begins any more.
    Paused {
        /// Why.
        note: String,
    },
    /// It goes on.
    Resumed,
    /// An occurrence was asked for.
    Triggered {
        /// Which.
        instant: DateTime<Utc>,
    },
    /// Occurrences of the past were asked for.
    Backfilled {
        /// Not before.
        from: DateTime<Utc>,
        /// Not after.
        to: DateTime<Utc>,
        /// How many are made; those that had happened are not made again.
        occurrences: u64,
        /// What they do when another is open.
        overlap: Overlap,
    },
}

impl Changed {
    /// The word for it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Made { .. } => "made",
            Self::Edited { .. } => "edited",
            Self::Removed => "removed",
            Self::Paused { .. } => "paused",
            Self::Resumed => "resumed",
            Self::Triggered { .. } => "triggered",
            Self::Backfilled { .. } => "backfilled",
        }
    }
}

/// Where a service keeps what was done to its tasks. The record is appended in the transaction of the change, so
/// there is no change without it.
pub trait ChangeJournal: std::fmt::Debug + Send + Sync + 'static {
    /// The record of a change; `None` when it is kept nowhere.
    ///
    /// # Errors
    /// When it can't be written down; the change is then not made.
    fn record(&self, change: &Change) -> Result<Option<OutboxRecord>, EncodeError>;
}
