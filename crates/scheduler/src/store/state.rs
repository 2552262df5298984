//! How far an occurrence is, and where it came from, by the words of the table.

/// How far an occurrence is, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OccurrenceState {
    /// For its instant, for a place, or for its next attempt.
    Waiting,
    /// Given to the workers; none has it yet.
    Dispatched,
    /// A worker has it.
    Running,
    /// It took effect.
    Done,
    /// It failed for good.
    Failed,
    /// Left out by the overlap policy.
    Skipped,
    /// Due too long ago when somebody looked.
    Missed,
    /// Ended because it was asked to.
    Cancelled,
    /// Ended without being asked; its later writes are refused.
    Terminated,
    /// Its last attempt took too long.
    TimedOut,
}

impl OccurrenceState {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Waiting,
        Self::Dispatched,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Skipped,
        Self::Missed,
        Self::Cancelled,
        Self::Terminated,
        Self::TimedOut,
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Dispatched => "dispatched",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
            Self::Cancelled => "cancelled",
            Self::Terminated => "terminated",
            Self::TimedOut => "timed_out",
        }
    }

    /// What a word means.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// True when nothing more will happen to it.
    #[must_use]
    pub const fn ended(self) -> bool {
        !matches!(self, Self::Waiting | Self::Dispatched | Self::Running)
    }
}

/// Where an occurrence came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OccurrenceKind {
    /// The task's schedule.
    Scheduled,
    /// Somebody triggered it.
    Manual,
    /// Somebody asked for a range of the past.
    Backfill,
}

impl OccurrenceKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Scheduled, Self::Manual, Self::Backfill];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Manual => "manual",
            Self::Backfill => "backfill",
        }
    }

    /// What a word means.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A column holds a word that this release doesn't know.
#[derive(Debug, thiserror::Error)]
#[error("`{word}` is no word for a task's {what}")]
pub(crate) struct UnknownWord {
    pub(crate) what: &'static str,
    pub(crate) word: String,
}

impl UnknownWord {
    pub(crate) fn in_column(self) -> sqlx::Error {
        sqlx::Error::ColumnDecode { index: self.what.to_owned(), source: Box::new(self) }
    }
}

/// Reads a word of a column.
pub(crate) fn read<T>(
    what: &'static str,
    word: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, sqlx::Error> {
    parse(word).ok_or_else(|| UnknownWord { what, word: word.to_owned() }.in_column())
}
