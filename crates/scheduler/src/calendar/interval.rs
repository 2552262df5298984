//! Fixed spans of elapsed time.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// A span, counted from an anchor: the instants are the anchor plus whole spans, so that a restart or a change of some
/// other setting moves none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    every_ms: i64,
    anchor: DateTime<Utc>,
}

/// A span that no task can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interval is {every:?}, it must be 1s to 366 days")]
pub struct IntervalRefusal {
    /// The span.
    pub every: Duration,
}

impl Interval {
    const SHORTEST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

    /// Every `every`, counted from `anchor`.
    ///
    /// # Errors
    /// When it is shorter than a second or longer than a year.
    pub fn try_new(every: Duration, anchor: DateTime<Utc>) -> Result<Self, IntervalRefusal> {
        let every_ms = i64::try_from(every.as_millis()).map_err(|_| IntervalRefusal { every })?;
        if every < Self::SHORTEST || every > Self::LONGEST {
            return Err(IntervalRefusal { every });
        }
        Ok(Self { every_ms, anchor })
    }

    /// The span.
    #[must_use]
    pub fn every(&self) -> Duration {
        Duration::from_millis(self.every_ms.unsigned_abs())
    }

    /// What it is counted from.
    #[must_use]
    pub fn anchor(&self) -> DateTime<Utc> {
        self.anchor
    }

    /// Never before the anchor.
    pub(super) fn next_after(&self, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if instant < self.anchor {
            return Some(self.anchor);
        }
        let elapsed_ms = instant.timestamp_millis() - self.anchor.timestamp_millis();
        // Parts of a millisecond are cut off on both sides; the next whole span may then be the instant itself.
        let mut spans = elapsed_ms / self.every_ms;
        loop {
            spans += 1;
            let ms = self.every_ms.checked_mul(spans)?;
            let next = self.anchor.checked_add_signed(chrono::TimeDelta::try_milliseconds(ms)?)?;
            if next > instant {
                return Some(next);
            }
        }
    }
}
