//! What is told about tasks and their occurrences.

use chrono::{DateTime, Utc};
use millrace_outbox::StoreError;

use super::ScheduleError;
use crate::store::history::OccurrenceRow;
use crate::store::state::{OccurrenceKind, OccurrenceState, read};
use crate::store::tasks::TaskRow;
use crate::task::{TaskForm, TaskId};

/// Who owns a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A release of the service.
    Code,
    /// An operator.
    Operator,
}

impl Origin {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Operator => "operator",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Code, Self::Operator].into_iter().find(|origin| origin.as_str() == word)
    }
}

/// A task as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// Who owns it.
    pub origin: Origin,
    /// Rises with every change; an edit names the one it has seen.
    pub version: i64,
    /// What it is.
    pub form: TaskForm,
    /// Set while nothing begins.
    pub paused: Option<Paused>,
    /// The next instant of its schedule; `None` when there is none any more, meaningless while paused.
    pub next_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// Since when.
    pub at: DateTime<Utc>,
    /// Who did it.
    pub by: String,
    /// Why.
    pub note: String,
}

/// One occurrence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// Its identity within the task.
    pub instant: DateTime<Utc>,
    /// How far it is, or how it ended.
    pub state: OccurrenceState,
    /// Where it came from.
    pub kind: OccurrenceKind,
    /// When it was to begin, or its next attempt.
    pub fire_at: DateTime<Utc>,
    /// The last attempt, from 1; 0 before the first.
    pub attempt: i32,
    /// When its last attempt was given to the workers.
    pub dispatched_at: Option<DateTime<Utc>>,
    /// When a worker last took it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Which worker took it last.
    pub worker: Option<String>,
    /// Why it ended so, or why its last attempt failed.
    pub reason: Option<String>,
    /// The trace of its last attempt.
    pub trace_id: Option<String>,
    /// Set where it stands for a span of missed instants, which may have been asked for again since.
    pub missed: Option<Missed>,
}

/// A span of instants that were due too long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// The last of them.
    pub until: DateTime<Utc>,
    /// How many; `None` when they were too many to count.
    pub count: Option<i32>,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T, C> {
    /// In order.
    pub items: Vec<T>,
    /// Where the next part begins, if there is one.
    pub next: Option<C>,
}

pub(super) fn task(row: TaskRow) -> Result<Task, ScheduleError> {
    let unreadable = |id: &str, source: Box<dyn std::error::Error + Send + Sync>| {
        ScheduleError::Unreadable { id: id.to_owned(), source }
    };
    let id = TaskId::parse(&row.id).map_err(|refused| unreadable(&row.id, refused.into()))?;
    let form =
        serde_json::from_str(&row.spec).map_err(|error| unreadable(&row.id, error.into()))?;
    let paused = row.paused_at.map(|at| Paused {
        at,
        by: row.paused_by.unwrap_or_default(),
        note: row.pause_note.unwrap_or_default(),
    });
    Ok(Task {
        id,
        origin: read("origin", &row.origin, Origin::parse).map_err(StoreError)?,
        version: row.version,
        form,
        paused,
        next_at: row.next_at,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

pub(super) fn occurrence(row: OccurrenceRow) -> Result<Occurrence, ScheduleError> {
    let count = row.missed_count;
    Ok(Occurrence {
        instant: row.instant,
        state: read("state", &row.state, OccurrenceState::parse).map_err(StoreError)?,
        kind: read("kind", &row.kind, OccurrenceKind::parse).map_err(StoreError)?,
        fire_at: row.fire_at,
        attempt: row.attempt,
        dispatched_at: row.dispatched_at,
        started_at: row.started_at,
        ended_at: row.ended_at,
        worker: row.worker,
        reason: row.reason,
        trace_id: row.trace_id,
        missed: row.missed_until.map(|until| Missed { until, count }),
    })
}
