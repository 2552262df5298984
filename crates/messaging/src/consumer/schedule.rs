//! What is handed over next, for all partitions of one consumer: the pure heart of it.
//!
//! It decides and never acts: records go in, calls come out, settlements go in, offsets to commit come out. Time is an
//! argument. [`super::dispatch`] puts a lock and wake-ups around it, [`super::runner`] makes the calls.
//!
//! What it holds up:
//! - an offset is committed only below the oldest unfinished record of its partition ([`super::offsets`]);
//! - records of one lane are in one call at most, in order ([`super::lanes`]);
//! - no more calls than `concurrency` are open, and one alone during a flood of failures;
//! - a settlement counts for the assignment it was taken in and for no later one.

mod flood;
mod letters;
mod partition;
mod work;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::lanes::{Item, LaneId, Portion};
use super::offsets::{CommitPoint, OffsetTracker};
use super::slot::Slot;

use flood::Flood;
use partition::Partition;
pub(super) use partition::{Flow, Marks, PartitionView};
pub(super) use work::{Finished, LaneEnd, Pending, Settlement, Work};

/// Lanes that wait, by the end of their wait.
type Waits = BTreeSet<(Instant, Tenure, LaneId)>;

/// Names one assignment of one partition: a partition that comes back is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Tenure {
    pub(super) slot: Slot,
    pub(super) number: u64,
}

/// The bounds that may change while it runs, and those that don't.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Calls that may be open at once.
    pub(super) concurrency: usize,
    /// What one call takes.
    pub(super) portion: Portion,
    /// Failures in a row after which one record at a time is tried.
    pub(super) flood: u32,
}

#[derive(Debug)]
pub(super) struct Schedule<R, L> {
    partitions: BTreeMap<Slot, Partition<R, L>>,
    /// Partitions with ready lanes, each once, in turn.
    turn: VecDeque<Slot>,
    waiting: Waits,
    /// The partition whose letters were taken last: the next ones have their turn before it.
    letters_of: Option<Slot>,
    limits: Limits,
    paused: bool,
    calls: usize,
    flood: Flood,
    tenures: u64,
    calls_ever: u64,
}

impl<R, L> Schedule<R, L> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            partitions: BTreeMap::new(),
            turn: VecDeque::new(),
            waiting: Waits::new(),
            letters_of: None,
            limits,
            paused: false,
            calls: 0,
            flood: Flood::new(limits.flood),
            tenures: 0,
            calls_ever: 0,
        }
    }

    pub(super) fn concurrency(&self) -> usize {
        self.limits.concurrency
    }

    pub(super) fn set_concurrency(&mut self, calls: usize) {
        self.limits.concurrency = calls.max(1);
    }

    /// After a pause every partition has moved just now: nobody could have moved it before.
    pub(super) fn set_paused(&mut self, paused: bool, now: Instant) {
        if std::mem::replace(&mut self.paused, paused) && !paused {
            self.partitions.values_mut().for_each(|partition| partition.resumed(now));
        }
    }

    /// A partition is ours. With `closed` its records wait until [`Schedule::open`].
    pub(super) fn assign(
        &mut self,
        slot: Slot,
        tracker: OffsetTracker,
        closed: bool,
        now: Instant,
    ) -> Tenure {
        self.tenures += 1;
        let mut partition = Partition::new(self.tenures, tracker, closed, now);
        if let Some(old) = self.remove(slot) {
            partition.follow(&old);
        }
        self.partitions.insert(slot, partition);
        Tenure { slot, number: self.tenures }
    }

    /// The records of a closed partition may be handed over, with this epoch.
    pub(super) fn open(&mut self, tenure: Tenure, epoch: i64) {
        if let Some(partition) = self.tenant(tenure) {
            partition.open(epoch);
        }
        self.enqueue(tenure.slot);
    }

    /// Takes records in the order of the partition. Those that are finished already, by the map of an earlier
    /// owner, are left out; returns how many were.
    pub(super) fn push(
        &mut self,
        slot: Slot,
        items: Vec<(LaneId, Item<R>)>,
        now: Instant,
    ) -> usize {
        let Some(partition) = self.partitions.get_mut(&slot) else { return 0 };
        let tenure = Tenure { slot, number: partition.number() };
        let mut left_out = 0;
        for item in items {
            let taken_in = partition.push(tenure, item, &mut self.waiting, now);
            left_out += usize::from(!taken_in);
        }
        self.enqueue(slot);
        left_out
    }

    /// The next call, when one may be made now.
    pub(super) fn take(&mut self, now: Instant) -> Option<Work<R>> {
        self.wake_due(now);
        if self.paused || self.room() == 0 {
            return None;
        }
        let portion = self.portion();
        while let Some(slot) = self.turn.pop_front() {
            let Some(partition) = self.partitions.get_mut(&slot) else { continue };
            partition.queued = false;
            if !partition.may_hand_over() {
                continue;
            }
            self.calls_ever += 1;
            let call = self.calls_ever;
            let Some(work) = partition.take(slot, call, portion, now) else { continue };
            self.calls += 1;
            self.flood.began(call);
            self.enqueue(slot);
            return Some(work);
        }
        None
    }

    /// How many more calls could be made now at least: it is some as long as there is one.
    pub(super) fn ready(&self) -> usize {
        if self.paused {
            return 0;
        }
        let (room, portion) = (self.room(), self.portion());
        let mut calls = 0;
        for partition in self.turn.iter().filter_map(|slot| self.partitions.get(slot)) {
            // Asked for after each call: what doesn't matter any more isn't counted.
            if calls >= room {
                break;
            }
            calls += partition.ready_calls(portion);
        }
        calls.min(room)
    }

    /// When a waiting lane gets ready.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.first().map(|(due, _, _)| *due)
    }

    /// Takes what a call came to.
    pub(super) fn settle(&mut self, settlement: Settlement<R, L>, now: Instant) {
        let Settlement { tenure, .. } = settlement;
        if settlement.succeeded {
            self.flood.succeeded();
        } else {
            self.flood.failed(settlement.failed);
        }
        let Some(partition) = self.partitions.get_mut(&tenure.slot) else { return };
        if partition.number() != tenure.number {
            return; // Of an assignment that is over: its records are another owner's, or came again.
        }
        self.calls -= 1;
        self.flood.ended(settlement.call);
        partition.settle(settlement, &mut self.waiting, now);
        self.enqueue(tenure.slot);
    }

    /// Records are finished; their call goes on with others of the same lane.
    pub(super) fn progress(
        &mut self,
        tenure: Tenure,
        finished: Vec<Finished>,
        succeeded: bool,
        now: Instant,
    ) {
        if succeeded {
            self.flood.succeeded();
        }
        if let Some(partition) = self.tenant(tenure) {
            partition.progress(finished, now);
        }
        self.enqueue(tenure.slot);
    }

    /// Hands nothing of this partition over any more; what is in hand may finish.
    pub(super) fn leave(&mut self, slot: Slot) {
        if let Some(partition) = self.partitions.get_mut(&slot) {
            partition.leave();
        }
    }

    /// Ends what is in hand of this partition.
    pub(super) fn abandon(&mut self, slot: Slot) {
        if let Some(partition) = self.partitions.get_mut(&slot) {
            partition.leave();
            partition.abandon.cancel();
        }
    }

    /// The partition isn't ours any more; what is in hand ends.
    pub(super) fn forget(&mut self, slot: Slot) {
        drop(self.remove(slot));
    }

    fn remove(&mut self, slot: Slot) -> Option<Partition<R, L>> {
        let partition = self.partitions.remove(&slot)?;
        partition.leave();
        partition.abandon.cancel();
        self.calls -= partition.open_calls();
        partition.calls().for_each(|call| self.flood.ended(call));
        self.waiting.retain(|(_, tenure, _)| tenure.slot != slot);
        self.turn.retain(|other| *other != slot);
        Some(partition)
    }

    /// The partition as its loop looks at it.
    pub(super) fn view(&self, slot: Slot) -> Option<PartitionView> {
        self.partitions.get(&slot).map(Partition::view)
    }

    /// In words, why a partition doesn't move, when nothing explains it.
    pub(super) fn stalled(&self, slot: Slot, limit: Duration, now: Instant) -> Option<String> {
        let full = self.room() == 0;
        let partition = self.partitions.get(&slot)?;
        if self.paused && partition.open_calls() == 0 {
            return None;
        }
        partition.stalled(limit, full, now)
    }

    /// What shall change about the flow into this partition.
    pub(super) fn flow(&mut self, slot: Slot, marks: Marks) -> Flow {
        let paused = self.paused;
        let partition = self.partitions.get_mut(&slot);
        let flow = partition.map_or(Flow::Keep, |partition| partition.flow(marks, paused));
        // A closer look at the map may find room in it.
        self.enqueue(slot);
        flow
    }

    /// What to commit of this partition, when there is news since `committed` (a version of the tracker).
    pub(super) fn commit_point(
        &mut self,
        slot: Slot,
        committed: Option<u64>,
    ) -> Option<(u64, CommitPoint)> {
        let partition = self.partitions.get_mut(&slot)?;
        let version = partition.tracker.version();
        if committed == Some(version) {
            return None;
        }
        let point = partition.tracker.commit_point();
        // The map's length is known now, and there may be room in it.
        self.enqueue(slot);
        Some((version, point?))
    }

    /// True when the flow into some partition is stopped.
    pub(super) fn any_stopped(&self) -> bool {
        self.partitions.values().any(Partition::stopped)
    }

    /// Partitions whose epoch a sink refused, each told once.
    pub(super) fn take_stale(&mut self) -> Vec<Tenure> {
        let stale = self.partitions.iter_mut().filter_map(|(slot, partition)| {
            let tenure = Tenure { slot: *slot, number: partition.number() };
            std::mem::take(&mut partition.stale).then_some(tenure)
        });
        stale.collect()
    }

    fn tenant(&mut self, tenure: Tenure) -> Option<&mut Partition<R, L>> {
        self.partitions
            .get_mut(&tenure.slot)
            .filter(|partition| partition.number() == tenure.number)
    }

    /// Calls that may be begun now.
    fn room(&self) -> usize {
        self.flood.room(self.limits.concurrency.saturating_sub(self.calls))
    }

    fn portion(&self) -> Portion {
        if self.flood.on() { Portion::ONE } else { self.limits.portion }
    }

    fn wake_due(&mut self, now: Instant) {
        while let Some((due, tenure, lane)) = self.waiting.first().copied() {
            if due > now {
                return;
            }
            self.waiting.pop_first();
            if let Some(partition) = self.tenant(tenure) {
                partition.wake(lane, due);
            }
            self.enqueue(tenure.slot);
        }
    }

    fn enqueue(&mut self, slot: Slot) {
        if let Some(partition) = self.partitions.get_mut(&slot)
            && !partition.queued
            && partition.may_hand_over()
        {
            partition.queued = true;
            self.turn.push_back(slot);
        }
    }
}

#[cfg(test)]
mod tests;
