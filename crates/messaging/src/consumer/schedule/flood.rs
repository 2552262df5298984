//! A flood of failures: when nothing succeeds any more, one record at a time finds out whether something does.
//!
//! The account is kept of all partitions together, because what fails a flood of records is rarely a partition.

use std::collections::BTreeSet;

#[derive(Debug)]
pub(super) struct Flood {
    /// Failures in a row after which it is one.
    limit: u32,
    failures_in_row: u32,
    /// Open calls that were begun in it. Older ones don't count to the one that is allowed: a call that takes an hour
    /// would be an hour without any other.
    probes: BTreeSet<u64>,
}

impl Flood {
    pub(super) fn new(limit: u32) -> Self {
        Self { limit, failures_in_row: 0, probes: BTreeSet::new() }
    }

    pub(super) fn on(&self) -> bool {
        self.failures_in_row >= self.limit
    }

    /// One success ends it.
    pub(super) fn succeeded(&mut self) {
        self.failures_in_row = 0;
    }

    pub(super) fn failed(&mut self, records: u32) {
        self.failures_in_row = self.failures_in_row.saturating_add(records);
    }

    pub(super) fn began(&mut self, call: u64) {
        if self.on() {
            self.probes.insert(call);
        }
    }

    pub(super) fn ended(&mut self, call: u64) {
        self.probes.remove(&call);
    }

    /// How many of so many calls may be begun now.
    pub(super) fn room(&self, room: usize) -> usize {
        if self.on() { room.min(1_usize.saturating_sub(self.probes.len())) } else { room }
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> (u32, usize) {
        (self.failures_in_row, self.probes.len())
    }
}
