//! One owned partition: its records, offsets, calls and letters.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millrace_runtime::CancellationToken;
use millrace_runtime::sabotage::{self, Switch};

use super::super::lanes::{Item, LaneId, Lanes, Portion, Resting};
use super::super::offsets::{Delivered, OffsetTracker};
use super::super::slot::Slot;
use super::{Finished, Pending, Settlement, Tenure, Waits, Work};

/// Share of the commit metadata at which intake slows down, and at which it goes on freely: past its end a map tells
/// less, and a restart would repeat more.
const MAP_FULL: f32 = 0.75;
const MAP_ROOM: f32 = 0.5;
/// Share at which what is in memory, too, is handed over more slowly: see [`Partition::held_back`].
const MAP_LAST: f32 = 0.9;

/// When the flow into a partition stops; it goes on at half of what records at rest leave of it.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Marks {
    pub(in super::super) records_max: usize,
    pub(in super::super) bytes_max: usize,
}

/// What shall change about a partition's flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Flow {
    Pause,
    Resume,
    Keep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct PartitionView {
    /// The offset that would be committed now.
    pub(in super::super) position: Option<i64>,
    /// Version of what would be committed.
    pub(in super::super) version: u64,
    /// Calls that are open.
    pub(in super::super) calls: usize,
    /// Letters that wait for their transaction.
    pub(in super::super) letters: usize,
    /// Records in memory.
    pub(in super::super) records: usize,
    /// Their bytes.
    pub(in super::super) bytes: usize,
    /// The flow into it is stopped.
    pub(in super::super) stopped: bool,
    /// A retry or a letter is waited for.
    pub(in super::super) explained: bool,
    pub(in super::super) moved_at: Instant,
}

/// Whether records may be handed over, and under which epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Closed,
    Open(Option<i64>),
}

/// An open call.
#[derive(Debug)]
struct Running {
    since: Instant,
    /// The lowest offset that it has.
    first: i64,
    epoch: Option<i64>,
}

#[derive(Debug)]
pub(super) struct Partition<R, L> {
    number: u64,
    pub(super) tracker: OffsetTracker,
    lanes: Lanes<R>,
    gate: Gate,
    /// Cancelled when it is on its way out.
    finish: CancellationToken,
    /// It stands in the turn.
    pub(super) queued: bool,
    pub(super) stale: bool,
    pub(super) abandon: CancellationToken,
    pub(super) letters: Vec<Pending<L>>,
    records: usize,
    bytes: usize,
    running: BTreeMap<u64, Running>,
    /// The highest offset that is finished.
    finished_to: i64,
    /// Letters that are not published yet, and the bytes of their records.
    held: usize,
    held_bytes: usize,
    stopped: bool,
    moved_at: Instant,
}

impl<R, L> Partition<R, L> {
    pub(super) fn new(number: u64, tracker: OffsetTracker, closed: bool, now: Instant) -> Self {
        Self {
            number,
            tracker,
            lanes: Lanes::new(),
            gate: if closed { Gate::Closed } else { Gate::Open(None) },
            finish: CancellationToken::new(),
            queued: false,
            stale: false,
            abandon: CancellationToken::new(),
            letters: Vec::new(),
            records: 0,
            bytes: 0,
            running: BTreeMap::new(),
            finished_to: i64::MIN,
            held: 0,
            held_bytes: 0,
            stopped: false,
            moved_at: now,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Calls that are open.
    pub(super) fn calls(&self) -> impl Iterator<Item = u64> {
        self.running.keys().copied()
    }

    pub(super) fn open_calls(&self) -> usize {
        self.running.len()
    }

    /// How many calls its ready lanes make at least.
    pub(super) fn ready_calls(&self, portion: Portion) -> usize {
        if !self.may_hand_over() {
            return 0;
        }
        self.lanes.ready_len().div_ceil(portion.lanes.min(portion.records).max(1))
    }

    pub(super) fn leave(&self) {
        if !sabotage::on(Switch::IgnoreRevoke) {
            self.finish.cancel();
        }
    }

    pub(super) fn open(&mut self, epoch: i64) {
        self.gate = Gate::Open(Some(epoch));
    }

    pub(super) fn may_hand_over(&self) -> bool {
        self.gate != Gate::Closed
            && !self.finish.is_cancelled()
            && self.lanes.any_ready()
            && !self.held_back()
    }

    /// Whether records wait although they are ready, because the map is as good as full: what finishes above a record
    /// in hand makes it longer, what is cut off it would be repeated by a restart, and intake that has stopped leaves
    /// thousands in memory that could do so. Calls end by themselves, so they are waited for; records in retries are
    /// not, as in [`Self::map_full`].
    fn held_back(&self) -> bool {
        self.tracker.fullness() >= MAP_LAST
            && self.running.values().any(|call| call.first < self.finished_to)
    }

    /// The consumer's pause is over.
    pub(super) fn resumed(&mut self, now: Instant) {
        self.moved_at = now;
    }

    /// Takes a record in; false when it isn't to be handed over.
    pub(super) fn push(
        &mut self,
        tenure: Tenure,
        (lane, item): (LaneId, Item<R>),
        waits: &mut Waits,
        now: Instant,
    ) -> bool {
        if self.tracker.delivered(item.offset) != Delivered::New {
            return false;
        }
        if self.records == 0 {
            self.moved_at = now;
        }
        self.records += 1;
        self.bytes += item.bytes;
        waits.extend(self.lanes.push(lane, item).map(|due| (due, tenure, lane)));
        true
    }

    pub(super) fn take(
        &mut self,
        slot: Slot,
        call: u64,
        portion: Portion,
        now: Instant,
    ) -> Option<Work<R>> {
        let Gate::Open(epoch) = self.gate else { return None };
        let items = self.lanes.take(portion);
        let first = items.iter().map(|(_, item)| item.offset).min()?;
        if sabotage::on(Switch::StoreOffsetEarly) {
            for (_, item) in &items {
                self.tracker.finished(item.offset);
            }
        }
        self.running.insert(call, Running { since: now, first, epoch });
        self.moved_at = now;
        let tenure = Tenure { slot, number: self.number };
        Some(Work {
            tenure,
            call,
            items,
            epoch,
            finish: self.finish.clone(),
            abandon: self.abandon.clone(),
        })
    }

    pub(super) fn settle(&mut self, settlement: Settlement<R, L>, waits: &mut Waits, now: Instant) {
        let call = self.running.remove(&settlement.call);
        self.moved_at = now;
        for end in settlement.lanes {
            let due = self.lanes.settle(end.lane, end.returned, end.after);
            waits.extend(due.map(|due| (due, settlement.tenure, end.lane)));
        }
        for finished in settlement.finished {
            self.finished(finished);
        }
        self.held += settlement.letters.len();
        self.held_bytes +=
            settlement.letters.iter().map(|letter| letter.record.bytes).sum::<usize>();
        self.letters.extend(settlement.letters);
        // A call from before the present epoch says nothing about it, and without epochs none can be drawn.
        let epoch = call.and_then(|call| call.epoch);
        if settlement.stale_epoch && epoch.is_some() && self.gate == Gate::Open(epoch) {
            self.gate = Gate::Closed;
            self.stale = true;
        }
    }

    pub(super) fn progress(&mut self, finished: Vec<Finished>, now: Instant) {
        self.moved_at = now;
        finished.into_iter().for_each(|record| self.finished(record));
    }

    pub(super) fn letters_published(
        &mut self,
        tenure: Tenure,
        letters: &[(LaneId, Finished)],
        waits: &mut Waits,
        now: Instant,
    ) {
        self.moved_at = now;
        for (lane, record) in letters {
            self.held -= 1;
            self.held_bytes -= record.bytes;
            self.finished(*record);
            waits.extend(self.lanes.release(*lane).map(|due| (due, tenure, *lane)));
        }
    }

    pub(super) fn return_letters(&mut self, mut letters: Vec<Pending<L>>) {
        letters.append(&mut self.letters);
        self.letters = letters;
    }

    pub(super) fn stopped(&self) -> bool {
        self.stopped
    }

    /// The client's flow is as it was for the one before.
    pub(super) fn follow(&mut self, before: &Self) {
        self.stopped = before.stopped;
    }

    pub(super) fn wake(&mut self, lane: LaneId, until: Instant) {
        self.lanes.wake(lane, until);
    }

    fn finished(&mut self, record: Finished) {
        self.tracker.finished(record.offset);
        self.finished_to = self.finished_to.max(record.offset);
        self.records -= 1;
        self.bytes -= record.bytes;
    }

    /// Stops and resumes the flow, in turn.
    pub(super) fn flow(&mut self, marks: Marks, consumer_paused: bool) -> Flow {
        let flow = match self.stopped {
            false => (consumer_paused || self.full(marks)).then_some(Flow::Pause),
            true => (!consumer_paused && self.roomy(marks)).then_some(Flow::Resume),
        };
        let Some(flow) = flow else { return Flow::Keep };
        self.stopped = flow == Flow::Pause;
        flow
    }

    fn full(&mut self, marks: Marks) -> bool {
        self.records >= marks.records_max || self.bytes >= marks.bytes_max || self.map_full()
    }

    /// A full map stops the flow only while records move, which end by themselves: then the flow goes on, whatever
    /// the map says. Were it to wait for the map, then keys in long retries, whose holes fill it, would stop all
    /// others. So a full map slows intake down to one poll's records at a time and never stops it.
    fn map_full(&mut self) -> bool {
        if self.tracker.fullness() < MAP_FULL || self.moving().records == 0 {
            return false;
        }
        // Told by an estimate that learns from each encoding, and the last one may be long ago.
        drop(self.tracker.commit_point());
        self.tracker.fullness() >= MAP_FULL
    }

    /// What rests doesn't drain, so the mark is half of what it leaves: a mark that is half of all may be out of
    /// reach for as long as retries last. When they fill the bound by themselves, it holds.
    fn roomy(&self, marks: Marks) -> bool {
        let (resting, moving) = (self.resting(), self.moving());
        let reached = |moving: usize, resting: usize, max: usize| {
            resting < max && moving <= (max - resting) / 2
        };
        reached(moving.records, resting.records, marks.records_max)
            && reached(moving.bytes, resting.bytes, marks.bytes_max)
            && (moving.records == 0 || self.tracker.fullness() <= MAP_ROOM)
    }

    /// Records that wait for a retry or for a letter, with those behind them and those in letters.
    fn resting(&self) -> Resting {
        let Resting { lanes, records, bytes } = self.lanes.resting();
        Resting { lanes, records: records + self.held, bytes: bytes + self.held_bytes }
    }

    /// Records that are ready or in hand.
    fn moving(&self) -> Resting {
        let resting = self.resting();
        let (records, bytes) = (self.records - resting.records, self.bytes - resting.bytes);
        Resting { lanes: 0, records, bytes }
    }

    pub(super) fn view(&self) -> PartitionView {
        PartitionView {
            position: self.tracker.position(),
            version: self.tracker.version(),
            calls: self.running.len(),
            letters: self.held,
            records: self.records,
            bytes: self.bytes,
            stopped: self.stopped,
            explained: self.gate == Gate::Closed || self.held > 0 || self.lanes.resting().lanes > 0,
            moved_at: self.moved_at,
        }
    }

    pub(super) fn stalled(&self, limit: Duration, full: bool, now: Instant) -> Option<String> {
        if self.finish.is_cancelled() {
            return None;
        }
        // The oldest call has the lowest number.
        if let Some(call) = self.running.values().next() {
            let open = now.saturating_duration_since(call.since);
            return (open >= limit)
                .then(|| format!("a handler has not come back for {} s", open.as_secs()));
        }
        let unmoved = now.saturating_duration_since(self.moved_at) >= limit;
        (unmoved && !full && self.may_hand_over())
            .then(|| format!("{} records wait and none was handed over", self.records))
    }
}

#[cfg(test)]
impl<R, L> Partition<R, L> {
    pub(super) fn check(&self) {
        self.lanes.check();
        assert_eq!(self.tracker.unfinished(), self.records);
        assert!(self.queued || !self.may_hand_over(), "who has work has a turn");
    }

    pub(super) fn check_empty(&self) {
        assert_eq!((self.lanes.check(), self.records, self.bytes), (0, 0, 0));
        assert_eq!((self.held, self.held_bytes, self.running.len()), (0, 0, 0));
        assert!(self.letters.is_empty() && !self.queued);
    }
}
