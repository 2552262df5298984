//! The line of records that wait to be handed over: its bounds, what it does when it is full, and its accounts.
//!
//! Pure: no lock, no clock, no waking; the shell around it has those. The accounts are kept here, where records
//! come and go, so that they can't disagree with what happened:
//! accepted = dropped + handed over + left + waiting, at every moment.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::mem;
use std::time::Duration;

/// What a full queue does with one record more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverflowPolicy {
    /// Who can wait, waits for room, at most so long; an offer that can't wait is refused.
    Block {
        /// The longest that one offer waits.
        deadline: Duration,
    },
    /// The record offered is dropped and counted.
    DropNewest,
    /// As many of the oldest as it takes are dropped and counted.
    DropOldest,
    /// The record is refused, and goes back to who offered it.
    Error,
    /// Of each topic and key only the newest record waits, in the place of the one before it, which is dropped and
    /// counted. A full queue refuses keys that are not in it.
    LatestPerKey,
}

impl OverflowPolicy {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Block { .. } => "block",
            Self::DropNewest => "drop_newest",
            Self::DropOldest => "drop_oldest",
            Self::Error => "error",
            Self::LatestPerKey => "latest_per_key",
        }
    }
}

/// Why a record was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no room, and by the queue's policy none is made.
    #[error("queue is full")]
    Full,
    /// It is larger than a message or the whole queue may be.
    #[error("record is larger than the queue takes")]
    TooLarge,
    /// The queue was closed.
    #[error("queue is closed")]
    Closed,
}

/// What a line must know about a record.
pub(super) trait Waiting {
    /// Whose newest record stands for all.
    type Place: Debug + Clone + Eq + Hash;

    fn bytes(&self) -> usize;
    fn place(&self) -> Self::Place;
}

/// How much waits at most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) records_max: usize,
    pub(super) bytes_max: usize,
}

/// Where the accepted records went. Each only grows, until a close drops what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Accounts {
    pub(super) accepted: u64,
    pub(super) dropped: u64,
    pub(super) handed: u64,
    /// Given back at the close.
    pub(super) left: u64,
}

#[derive(Debug)]
pub(super) struct Line<R: Waiting> {
    policy: OverflowPolicy,
    bounds: Bounds,
    waiting: VecDeque<R>,
    bytes: usize,
    /// The number of the first that waits, counted from the line's beginning.
    first: u64,
    /// The number of each place's only record; empty unless the policy needs it.
    places: HashMap<R::Place, u64>,
    accounts: Accounts,
    closed: bool,
}

impl<R: Waiting> Line<R> {
    pub(super) fn new(policy: OverflowPolicy, bounds: Bounds) -> Self {
        Self {
            policy,
            bounds,
            waiting: VecDeque::new(),
            bytes: 0,
            first: 0,
            places: HashMap::new(),
            accounts: Accounts::default(),
            closed: false,
        }
    }

    /// Takes a record in, or gives it back with the reason. What was dropped for it goes to `dropped`, so that the
    /// caller can free it after its lock.
    pub(super) fn offer(&mut self, record: R, dropped: &mut Vec<R>) -> Result<(), (R, Refusal)> {
        let bytes = record.bytes();
        if self.closed {
            return Err((record, Refusal::Closed));
        }
        if bytes > self.bounds.bytes_max {
            return Err((record, Refusal::TooLarge));
        }
        if self.policy == OverflowPolicy::LatestPerKey {
            return self.offer_latest(record, bytes, dropped);
        }
        if self.has_room(bytes) {
            self.push(record, bytes);
            return Ok(());
        }
        match self.policy {
            OverflowPolicy::DropNewest => {
                self.accounts.accepted += 1;
                self.accounts.dropped += 1;
                dropped.push(record);
                Ok(())
            }
            OverflowPolicy::DropOldest => {
                while !self.has_room(bytes) {
                    dropped.extend(self.pop());
                    self.accounts.dropped += 1;
                }
                self.push(record, bytes);
                Ok(())
            }
            OverflowPolicy::Block { .. } | OverflowPolicy::Error | OverflowPolicy::LatestPerKey => {
                Err((record, Refusal::Full))
            }
        }
    }

    /// Up to `records_max` of the oldest, to be handed over.
    pub(super) fn take(&mut self, records_max: usize, taken: &mut VecDeque<R>) {
        if taken.is_empty() && self.waiting.len() <= records_max {
            // All of them, which is a swap however many they are.
            self.accounts.handed += self.waiting.len() as u64;
            self.first += self.waiting.len() as u64;
            self.places.clear();
            self.bytes = 0;
            mem::swap(&mut self.waiting, taken);
            return;
        }
        for _ in 0..records_max {
            let Some(record) = self.pop() else { return };
            self.accounts.handed += 1;
            taken.push_back(record);
        }
    }

    /// From now on nothing is accepted.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// What is left, given back.
    pub(super) fn drain(&mut self) -> Vec<R> {
        self.places.clear();
        self.bytes = 0;
        self.first += self.waiting.len() as u64;
        self.accounts.left += self.waiting.len() as u64;
        mem::take(&mut self.waiting).into()
    }

    pub(super) fn closed(&self) -> bool {
        self.closed
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn accounts(&self) -> Accounts {
        self.accounts
    }

    /// How many records more there is room for, their bytes aside.
    pub(super) fn room(&self) -> usize {
        self.bounds.records_max.saturating_sub(self.waiting.len())
    }

    fn offer_latest(
        &mut self,
        record: R,
        bytes: usize,
        dropped: &mut Vec<R>,
    ) -> Result<(), (R, Refusal)> {
        let place = record.place();
        if let Some(number) = self.places.get(&place) {
            let index = usize::try_from(number - self.first).unwrap_or(usize::MAX);
            let before = &mut self.waiting[index];
            let bytes_then = self.bytes - before.bytes() + bytes;
            if bytes_then > self.bounds.bytes_max {
                return Err((record, Refusal::Full));
            }
            dropped.push(mem::replace(before, record));
            self.bytes = bytes_then;
            self.accounts.accepted += 1;
            self.accounts.dropped += 1;
            return Ok(());
        }
        if !self.has_room(bytes) {
            return Err((record, Refusal::Full));
        }
        self.places.insert(place, self.first + self.waiting.len() as u64);
        self.push(record, bytes);
        Ok(())
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.waiting.len() < self.bounds.records_max && self.bytes + bytes <= self.bounds.bytes_max
    }

    fn push(&mut self, record: R, bytes: usize) {
        self.accounts.accepted += 1;
        self.bytes += bytes;
        self.waiting.push_back(record);
    }

    fn pop(&mut self) -> Option<R> {
        let record = self.waiting.pop_front()?;
        self.first += 1;
        self.bytes -= record.bytes();
        if self.policy == OverflowPolicy::LatestPerKey {
            self.places.remove(&record.place());
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests;
