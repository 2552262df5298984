//! What a worker has finished and what it still holds: the one thing that worker and poll loop share.
//!
//! A worker settles its records in order, so one number says everything: each record below `finished` is settled,
//! none at or above it is. That number is what is committed; there is no second account that could run ahead.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waits for records.
    Idle,
    /// A handler runs, or a dead letter is being published.
    Handling,
    /// Waits to hand over the same record again.
    Retrying,
    /// Has ended and will finish nothing more.
    Ended,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Snapshot {
    /// The offset after the last settled record; `None` before the first.
    pub(super) finished: Option<i64>,
    /// Records handed over and not settled.
    pub(super) records: usize,
    /// Their bytes.
    pub(super) bytes: usize,
    pub(super) phase: Phase,
    /// Since when the worker is in this phase, or last settled something.
    pub(super) since: Instant,
}

#[derive(Debug)]
pub(super) struct Progress(Mutex<Snapshot>);

impl Progress {
    pub(super) fn new() -> Self {
        let since = Instant::now();
        Self(Mutex::new(Snapshot {
            finished: None,
            records: 0,
            bytes: 0,
            phase: Phase::Idle,
            since,
        }))
    }

    pub(super) fn read(&self) -> Snapshot {
        *self.lock()
    }

    pub(super) fn handed_over(&self, records: usize, bytes: usize) {
        let mut state = self.lock();
        state.records += records;
        state.bytes += bytes;
    }

    pub(super) fn enter(&self, phase: Phase) {
        let mut state = self.lock();
        // An ended worker stays ended.
        if state.phase != phase && state.phase != Phase::Ended {
            state.phase = phase;
            state.since = Instant::now();
        }
    }

    /// Everything below `next_offset` is settled, `records` of it just now.
    pub(super) fn settled(&self, next_offset: i64, records: usize, bytes: usize) {
        let mut state = self.lock();
        debug_assert!(state.finished <= Some(next_offset), "offsets of one partition only grow");
        state.finished = Some(next_offset);
        state.records = state.records.saturating_sub(records);
        state.bytes = state.bytes.saturating_sub(bytes);
        state.since = Instant::now();
    }

    /// `records` wait no more, although an older one may still be unsettled.
    pub(super) fn released(&self, records: usize, bytes: usize) {
        let mut state = self.lock();
        state.records = state.records.saturating_sub(records);
        state.bytes = state.bytes.saturating_sub(bytes);
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_finished_is_what_was_settled_and_an_ended_worker_stays_ended() {
        let progress = Progress::new();
        progress.handed_over(3, 30);
        assert_eq!(progress.read().finished, None);
        progress.settled(8, 2, 20);
        let state = progress.read();
        assert_eq!((state.finished, state.records, state.bytes), (Some(8), 1, 10));
        progress.enter(Phase::Ended);
        progress.enter(Phase::Idle);
        assert_eq!(progress.read().phase, Phase::Ended);
    }
}
