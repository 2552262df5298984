//! When a task is due: pure arithmetic over instants, no clock and no I/O.
//!
//! What is stored and compared is always the instant. Wall-clock time appears only while a cron expression is turned
//! into instants, and there a zone's changes of the clock need a rule: see [`DstPolicy`].

mod cron;
mod expression;
mod interval;
mod jitter;
mod zone;

use chrono::{DateTime, Utc};

pub use expression::{CronExpression, CronRefusal, Expressions};
pub use interval::{Interval, IntervalRefusal};
pub use jitter::fire_at;
pub use zone::{UnknownZone, Zone};

/// What becomes of wall-clock times that a change of the clocks removes or repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DstPolicy {
    /// A time that is missing that day is left out; one that comes twice is taken the first time.
    Skip,
    /// A time that is missing that day is taken at the moment of the jump; one that comes twice, the first time.
    #[default]
    Once,
    /// A time that is missing that day is taken at the moment of the jump; one that comes twice, both times.
    Twice,
}

/// When a task is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recurrence {
    /// By the wall clock of a zone.
    Cron {
        /// The times.
        expression: CronExpression,
        /// Where they are read.
        zone: Zone,
        /// What changes of the clock do.
        dst: DstPolicy,
    },
    /// By elapsed time; no zone and no change of the clock matters.
    Every(Interval),
    /// Once.
    At(DateTime<Utc>),
}

impl Recurrence {
    /// The first instant after `instant`; `None` when there is none any more.
    #[must_use]
    pub fn next_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Cron { expression, zone, dst } => {
                cron::next_after(expression, zone, *dst, instant)
            }
            Self::Every(interval) => interval.next_after(instant),
            Self::At(at) => (*at > instant).then_some(*at),
        }
    }

    /// All instants after `instant`, in order, each once. Endless for most recurrences: take what you need.
    pub fn after(&self, instant: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> + '_ {
        std::iter::successors(self.next_after(instant), |last| self.next_after(*last))
    }
}
