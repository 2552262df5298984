//! Why a verb did nothing.

use millrace_outbox::{EncodeError, StoreError};
use millrace_resilience::{Class, Classify};

use super::{BACKFILL_MAX, FORECAST_MAX};
use crate::task::{SpecRefused, TaskId};

/// Why a verb did nothing. The variants above `Encode` are refusals: the caller can do something about them.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// There is no such task.
    #[error("there is no task `{id}`")]
    Unknown {
        /// What was asked for.
        id: TaskId,
    },
    /// Somebody else has changed it, made it, or removed it.
    #[error("task `{id}` has changed since its version {expected}")]
    Conflict {
        /// The task.
        id: TaskId,
        /// The version that the caller has seen; 0 = it was to be made.
        expected: i64,
        /// The version that it has; `None` when it is gone.
        actual: Option<i64>,
    },
    /// Only a release changes it.
    #[error("task `{id}` is declared in code")]
    DeclaredInCode {
        /// The task.
        id: TaskId,
    },
    /// Nothing begins while it is paused.
    #[error("task `{id}` is paused")]
    Paused {
        /// The task.
        id: TaskId,
    },
    /// It makes no sense.
    #[error(transparent)]
    Spec(#[from] SpecRefused),
    /// The note is missing or too long.
    #[error("note must have 1 to {max} characters and no NUL")]
    Note {
        /// The limit.
        max: usize,
    },
    /// The range ends before it begins, or in the future.
    #[error("range must end after its beginning and not in the future")]
    Range,
    /// More than the caller has allowed for; nothing was made.
    #[error("range has more than {max} occurrences")]
    TooMany {
        /// What the caller has allowed for.
        max: u32,
    },
    /// The limit itself is out of bounds.
    #[error("limit must be 1 to {limit}", limit = BACKFILL_MAX)]
    Limit,
    /// More instants than anybody may ask for at once.
    #[error("forecast must be 1 to {limit} instants", limit = FORECAST_MAX)]
    Forecast,
    /// The change has no journal record.
    #[error("a change of a task can't be written to the journal")]
    Encode(#[from] EncodeError),
    /// The stored form can't be read by this release.
    #[error("stored task `{id}` can't be read")]
    Unreadable {
        /// The task.
        id: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Classify for ScheduleError {
    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Unknown { .. }
            | Self::Conflict { .. }
            | Self::DeclaredInCode { .. }
            | Self::Paused { .. }
            | Self::Spec(_)
            | Self::Note { .. }
            | Self::Range
            | Self::TooMany { .. }
            | Self::Limit
            | Self::Forecast
            | Self::Encode(_)
            | Self::Unreadable { .. } => Class::Permanent,
        }
    }
}
