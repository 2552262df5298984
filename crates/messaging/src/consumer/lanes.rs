//! The records of one partition in lanes: what must stay in order stands in one lane, and lanes are independent.
//!
//! Pure: no clock, no lock, no task. A lane exists while it holds records or one of its records is in hand, so the
//! number of keys that were ever seen costs nothing. A lane is in exactly one state:
//!
//! ```text
//! ready -> busy (a call has its first records) -> ready | waiting (a retry is due later) | held (a letter is on its way)
//! ```
//! A lane that waits or is held rests: its records are in memory and nothing that happens here moves them. They are
//! counted apart, because a bound that waits for them to drain would wait for as long as their retries last.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Instant;

/// Ready lanes that one call leaves standing at most because their first record doesn't fit into it.
const PASSED_OVER_MAX: usize = 64;

/// What must stay in order: a hash of the key, one number for a whole partition, or one for each record.
/// Two keys with one hash share a lane, which costs them independence and nothing else.
pub(super) type LaneId = u64;

/// One record with its account of failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item<R> {
    pub(super) record: R,
    pub(super) offset: i64,
    pub(super) bytes: usize,
    /// Times it was handed over and failed.
    pub(super) failures: u32,
    pub(super) first_failure_ms: Option<i64>,
    /// It was in a batch that failed as a whole: next time it speaks for itself.
    pub(super) alone: bool,
    /// Not to be handed over before, as its retry topic says; empty once its lane waits for it.
    pub(super) due: Option<Instant>,
}

impl<R> Item<R> {
    pub(super) fn new(record: R, offset: i64, bytes: usize) -> Self {
        let (failures, first_failure_ms) = (0, None);
        Self { record, offset, bytes, failures, first_failure_ms, alone: false, due: None }
    }

    fn single(&self) -> bool {
        self.alone || self.failures > 0
    }
}

/// How a lane goes on after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// At once.
    Go,
    /// Not before.
    Wait(Instant),
    /// When a letter was acknowledged.
    Hold,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Busy,
    Waiting(Instant),
    Held,
}

impl State {
    fn rests(self) -> bool {
        matches!(self, Self::Waiting(_) | Self::Held)
    }
}

#[derive(Debug)]
struct Lane<R> {
    /// Most lanes hold one record: it needs no queue.
    first: Option<Item<R>>,
    rest: VecDeque<Item<R>>,
    bytes: usize,
    state: State,
}

impl<R> Lane<R> {
    fn push(&mut self, item: Item<R>) {
        self.bytes += item.bytes;
        if self.first.is_none() {
            self.first = Some(item);
        } else {
            self.rest.push_back(item);
        }
    }

    fn pop(&mut self) -> Option<Item<R>> {
        let item = self.first.take()?;
        self.first = self.rest.pop_front();
        self.bytes -= item.bytes;
        Some(item)
    }

    /// Puts records back before all others, in their order.
    fn put_back(&mut self, returned: Vec<Item<R>>) {
        for item in returned.into_iter().rev() {
            self.bytes += item.bytes;
            if let Some(second) = self.first.replace(item) {
                self.rest.push_front(second);
            }
        }
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// How it goes on when nothing holds it back but its own first record.
    fn ready_or_waiting(&mut self) -> State {
        let due = self.first.as_mut().and_then(|first| first.due.take());
        due.map_or(State::Ready, State::Waiting)
    }
}

/// How much one call takes at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Portion {
    pub(super) lanes: usize,
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Portion {
    pub(super) const ONE: Self = Self { lanes: 1, records: 1, bytes: usize::MAX };
}

/// What stands in lanes that rest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Resting {
    pub(super) lanes: usize,
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Resting {
    fn add<R>(&mut self, lane: &Lane<R>) {
        self.lanes += 1;
        self.records += lane.len();
        self.bytes += lane.bytes;
    }

    fn remove<R>(&mut self, lane: &Lane<R>) {
        self.lanes -= 1;
        self.records -= lane.len();
        self.bytes -= lane.bytes;
    }
}

/// Lanes are numbered by a keyed hash or by offsets; either needs no more than spreading over the table's tag bits.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 << 8 | u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // The odd number next to 2^64 over the golden ratio: neighbours land far apart, no two on one place.
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug)]
pub(super) struct Lanes<R> {
    lanes: HashMap<LaneId, Lane<R>, BuildHasherDefault<Spread>>,
    ready: VecDeque<LaneId>,
    resting: Resting,
}

impl<R> Lanes<R> {
    pub(super) fn new() -> Self {
        Self { lanes: HashMap::default(), ready: VecDeque::new(), resting: Resting::default() }
    }

    /// Puts a record at the end of its lane. The instant, when the lane begins to wait for it.
    pub(super) fn push(&mut self, id: LaneId, item: Item<R>) -> Option<Instant> {
        match self.lanes.entry(id) {
            Entry::Occupied(mut entry) => {
                let lane = entry.get_mut();
                if lane.state.rests() {
                    self.resting.records += 1;
                    self.resting.bytes += item.bytes;
                }
                lane.push(item);
                None
            }
            Entry::Vacant(entry) => {
                let mut lane =
                    Lane { first: None, rest: VecDeque::new(), bytes: 0, state: State::Ready };
                lane.push(item);
                lane.state = lane.ready_or_waiting();
                let lane = entry.insert(lane);
                Self::enter(&mut self.ready, &mut self.resting, id, lane)
            }
        }
    }

    /// True when some lane may be handed over.
    pub(super) fn any_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// Takes the first records of ready lanes; their lanes are busy until [`Lanes::settle`]. A record that failed
    /// before is taken alone.
    ///
    /// The lane that has been ready longest is always served. One that is passed over, because its first record
    /// goes alone or is too large for what is left of the portion, keeps its place, so its turn comes.
    pub(super) fn take(&mut self, portion: Portion) -> Vec<(LaneId, Item<R>)> {
        let mut taken = Vec::new();
        let mut passed_over = Vec::new();
        let (mut bytes, mut lanes) = (0, 0);
        while lanes < portion.lanes
            && taken.len() < portion.records
            && passed_over.len() < PASSED_OVER_MAX
        {
            let Some(id) = self.ready.pop_front() else { break };
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            let Some(first) = &lane.first else { continue };
            let single = first.single();
            if !taken.is_empty() && (single || first.bytes > portion.bytes - bytes) {
                passed_over.push(id);
                continue;
            }
            lane.state = State::Busy;
            lanes += 1;
            while let Some(item) = lane.pop() {
                bytes += item.bytes.min(portion.bytes - bytes);
                taken.push((id, item));
                let more = lane.first.as_ref().is_some_and(|next| {
                    !next.single() && next.due.is_none() && next.bytes <= portion.bytes - bytes
                });
                if single || !more || taken.len() >= portion.records {
                    break;
                }
            }
            if single {
                break;
            }
        }
        passed_over.into_iter().rev().for_each(|id| self.ready.push_front(id));
        // Lanes come in the order in which they got ready; a handler sees its records in the order of the partition.
        if lanes > 1 {
            taken.sort_unstable_by_key(|(_, item)| item.offset);
        }
        taken
    }

    /// The call that had this lane is over; what was not finished goes back to its front. The instant, when the lane
    /// begins to wait.
    pub(super) fn settle(
        &mut self,
        id: LaneId,
        returned: Vec<Item<R>>,
        after: After,
    ) -> Option<Instant> {
        let Some(lane) = self.lanes.get_mut(&id) else {
            debug_assert!(false, "a busy lane stays in the map");
            return None;
        };
        debug_assert_eq!(lane.state, State::Busy, "only a busy lane is settled");
        lane.put_back(returned);
        match after {
            After::Go => return self.go(id),
            After::Wait(until) => lane.state = State::Waiting(until),
            After::Hold => lane.state = State::Held,
        }
        Self::enter(&mut self.ready, &mut self.resting, id, lane)
    }

    /// The letter of a held lane was acknowledged. The instant, when the lane begins to wait.
    pub(super) fn release(&mut self, id: LaneId) -> Option<Instant> {
        let lane = self.lanes.get(&id).filter(|lane| lane.state == State::Held)?;
        self.resting.remove(lane);
        self.go(id)
    }

    /// The wait of a lane is over, if it is the one that ends at `until`.
    pub(super) fn wake(&mut self, id: LaneId, until: Instant) {
        let lane = self.lanes.get(&id).filter(|lane| lane.state == State::Waiting(until));
        if let Some(lane) = lane {
            self.resting.remove(lane);
            let due = self.go(id);
            debug_assert_eq!(due, None, "what a lane waited for is forgotten when the wait begins");
        }
    }

    /// What stands in lanes that wait for a retry or a letter.
    pub(super) fn resting(&self) -> Resting {
        self.resting
    }

    /// A lane that nothing holds goes on with its next record, or ends.
    fn go(&mut self, id: LaneId) -> Option<Instant> {
        let Entry::Occupied(mut entry) = self.lanes.entry(id) else { return None };
        let lane = entry.get_mut();
        if lane.first.is_none() {
            entry.remove();
            return None;
        }
        lane.state = lane.ready_or_waiting();
        Self::enter(&mut self.ready, &mut self.resting, id, lane)
    }

    /// Enters a lane where its new state belongs.
    fn enter(
        ready: &mut VecDeque<LaneId>,
        resting: &mut Resting,
        id: LaneId,
        lane: &Lane<R>,
    ) -> Option<Instant> {
        match lane.state {
            State::Ready => ready.push_back(id),
            State::Busy => {}
            State::Held => resting.add(lane),
            State::Waiting(until) => {
                resting.add(lane);
                return Some(until);
            }
        }
        None
    }

    /// Checks the accounts against what they are of; how many lanes there are.
    #[cfg(test)]
    pub(super) fn check(&self) -> usize {
        let mut resting = Resting::default();
        for lane in self.lanes.values() {
            let items = lane.first.iter().chain(&lane.rest);
            assert_eq!(lane.bytes, items.map(|item| item.bytes).sum::<usize>());
            if lane.state.rests() {
                resting.add(lane);
            }
        }
        assert_eq!(self.resting, resting);
        let ready = self.lanes.iter().filter(|(_, lane)| lane.state == State::Ready);
        let ready: std::collections::BTreeSet<LaneId> = ready.map(|(id, _)| *id).collect();
        assert_eq!(ready, self.ready.iter().copied().collect());
        assert_eq!(ready.len(), self.ready.len(), "a lane stands in the row once");
        self.lanes.len()
    }
}
