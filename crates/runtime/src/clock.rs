//! Time as a value.
//!
//! Code that decides something by time takes a [`Clock`]; nobody reads the system's clock anywhere else
//! (clippy forbids it), so a test can move time by hand and a domain function can be given an instant.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// Where wall time and monotonic time come from. Cloning shares the clock.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual { started: Instant, wall_ms_at_start: i64, elapsed_ms: Arc<AtomicI64> },
}

impl Clock {
    /// The machine's own clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still at `start` until [`Clock::advance`] moves it.
    #[must_use]
    pub fn manual(start: DateTime<Utc>) -> Self {
        Self(Source::Manual {
            started: Instant::now(),
            wall_ms_at_start: start.timestamp_millis(),
            elapsed_ms: Arc::new(AtomicI64::new(0)),
        })
    }

    /// Wall time, to the millisecond for a manual clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system")]
    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            Source::System => Utc::now(),
            Source::Manual { .. } => {
                DateTime::from_timestamp_millis(self.now_ms()).unwrap_or(DateTime::UNIX_EPOCH)
            }
        }
    }

    /// Wall time in milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Source::System => self.now().timestamp_millis(),
            Source::Manual { wall_ms_at_start, elapsed_ms, .. } => {
                wall_ms_at_start + elapsed_ms.load(Ordering::SeqCst)
            }
        }
    }

    /// Monotonic time: never goes back, says nothing about the calendar.
    #[must_use]
    pub fn monotonic(&self) -> Instant {
        match &self.0 {
            Source::System => Instant::now(),
            Source::Manual { started, elapsed_ms, .. } => {
                let elapsed = u64::try_from(elapsed_ms.load(Ordering::SeqCst)).unwrap_or(0);
                *started + Duration::from_millis(elapsed)
            }
        }
    }

    /// Moves a manual clock forward; a system clock can't be moved and stays.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { elapsed_ms, .. } = &self.0 {
            elapsed_ms
                .fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_both_times_together() {
        let clock = Clock::manual(DateTime::UNIX_EPOCH);
        let before = clock.monotonic();
        clock.clone().advance(Duration::from_millis(1500));
        assert_eq!(clock.now_ms(), 1500);
        assert_eq!(clock.now().timestamp_millis(), 1500);
        assert_eq!(clock.monotonic() - before, Duration::from_millis(1500));
    }
}
