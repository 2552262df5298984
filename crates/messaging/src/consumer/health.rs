//! How a consumer does, written by its poll loop and workers, read by the health page.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How one consumer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerHealth {
    /// Its poll loop runs.
    pub running: bool,
    /// Records of its partitions that are not finished, as far as the broker was asked.
    pub lag: i64,
    /// Partitions it owns.
    pub partition_count: usize,
    /// Time since its last poll.
    pub last_poll: Duration,
    /// Records wait, none is handed over, and no pause, retry or outage explains it: a restart may help.
    pub stalled: bool,
    /// Records it sent to the dead-letter topic since the start.
    pub dead_lettered: u64,
    /// What keeps it from work, in words; `None` when nothing does.
    pub reason: Option<String>,
}

#[derive(Debug)]
pub(super) struct Board {
    started: Instant,
    stall_limit: Duration,
    running: AtomicBool,
    last_poll_ms: AtomicU64,
    lag: AtomicI64,
    partition_count: AtomicUsize,
    dead_lettered: AtomicU64,
    // A std mutex: held to read or replace a short text.
    trouble: Mutex<Trouble>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) stalled: bool,
    pub(super) reason: Option<String>,
}

impl Board {
    pub(super) fn new(stall_limit: Duration) -> Self {
        Self {
            started: Instant::now(),
            stall_limit,
            running: AtomicBool::new(true),
            last_poll_ms: AtomicU64::new(0),
            lag: AtomicI64::new(0),
            partition_count: AtomicUsize::new(0),
            dead_lettered: AtomicU64::new(0),
            trouble: Mutex::default(),
        }
    }

    pub(super) fn polled(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_poll_ms.store(elapsed, Ordering::Relaxed);
    }

    pub(super) fn stopped(&self) {
        self.running.store(false, Ordering::Relaxed);
        self.partition_count.store(0, Ordering::Relaxed);
    }

    pub(super) fn owns(&self, partitions: usize, lag: i64) {
        self.partition_count.store(partitions, Ordering::Relaxed);
        self.lag.store(lag, Ordering::Relaxed);
    }

    pub(super) fn dead_lettered(&self) {
        self.dead_lettered.fetch_add(1, Ordering::Relaxed);
    }

    /// Replaces what is known of trouble; true when «stalled» changed.
    pub(super) fn set_trouble(&self, trouble: Trouble) -> bool {
        let mut current = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = current.stalled != trouble.stalled;
        *current = trouble;
        changed
    }

    pub(super) fn read(&self) -> ConsumerHealth {
        let running = self.running.load(Ordering::Relaxed);
        let last_poll = Duration::from_millis(self.last_poll_ms.load(Ordering::Relaxed));
        let last_poll = self.started.elapsed().saturating_sub(last_poll);
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The loop that would report a stall may itself be the one that hangs.
        let loop_hangs = running && last_poll > self.stall_limit;
        let reason = if loop_hangs {
            Some("the poll loop does not poll".to_owned())
        } else if running {
            trouble.reason
        } else {
            Some("the consumer has ended".to_owned())
        };
        ConsumerHealth {
            running,
            lag: self.lag.load(Ordering::Relaxed),
            partition_count: self.partition_count.load(Ordering::Relaxed),
            last_poll,
            stalled: running && (trouble.stalled || loop_hangs),
            dead_lettered: self.dead_lettered.load(Ordering::Relaxed),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stopped_polling_is_stalled_although_it_can_not_say_so() {
        let board = Board::new(Duration::ZERO);
        let health = board.read();
        assert!(health.running && health.stalled, "{health:?}");
        board.stopped();
        let health = board.read();
        assert!(!health.running && !health.stalled, "{health:?}");
    }
}
