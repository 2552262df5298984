//! The schedule against a world that is too simple to be wrong: it hands records in, plays the runners with fates
//! drawn by chance, and remembers of each record where it is. What must hold is checked after every step, and in the
//! end everything is drained.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::lanes::After;
use super::super::offsets::CompletedMap;
use super::*;

mod flow;

type Pure = Schedule<(), ()>;

const PARTITIONS: i32 = 3;
const FLOOD: u32 = 4;

fn slot(partition: i32) -> Slot {
    Slot { topic: 0, partition }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Done,
    Retry(u64),
    Letter,
    /// In a batch that failed as a whole.
    Alone,
    Untouched,
}

#[derive(Debug, Clone)]
enum Step {
    /// Lanes of records, and milliseconds until they are due (0: at once).
    Push {
        partition: i32,
        records: Vec<(LaneId, u64)>,
    },
    Take,
    /// Fates for the records of one open call, one after the other and again from the first.
    Settle {
        call: Index,
        fates: Vec<Fate>,
    },
    /// A call finishes its first record and goes on.
    Progress(Index),
    TakeLetters(usize),
    Publish {
        published: bool,
    },
    Abandon(Index),
    /// The old owner's calls are open still, and their settlements come later.
    Assign {
        partition: i32,
        closed: bool,
    },
    Open(i32),
    Forget(i32),
    Leave(i32),
    Stale {
        call: Index,
    },
    Concurrency(usize),
    Pause(bool),
    Pass(u64),
}

fn zipf() -> impl Strategy<Value = LaneId> {
    (0.0..1.0_f64).prop_map(|drawn| (20.0_f64.powf(drawn)) as LaneId)
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Done),
        2 => (1_u64..50).prop_map(Fate::Retry),
        1 => Just(Fate::Letter),
        1 => Just(Fate::Alone),
        1 => Just(Fate::Untouched),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let due = prop_oneof![5 => Just(0_u64), 1 => 1_u64..40];
    let records = prop::collection::vec((zipf(), due), 1..8);
    let partition = 0..PARTITIONS;
    prop_oneof![
        8 => (partition.clone(), records)
            .prop_map(|(partition, records)| Step::Push { partition, records }),
        14 => Just(Step::Take),
        10 => (any::<Index>(), prop::collection::vec(fate(), 1..6))
            .prop_map(|(call, fates)| Step::Settle { call, fates }),
        2 => any::<Index>().prop_map(Step::Progress),
        2 => (1..5_usize).prop_map(Step::TakeLetters),
        2 => any::<bool>().prop_map(|published| Step::Publish { published }),
        1 => any::<Index>().prop_map(Step::Abandon),
        1 => (partition.clone(), any::<bool>())
            .prop_map(|(partition, closed)| Step::Assign { partition, closed }),
        2 => partition.clone().prop_map(Step::Open),
        1 => partition.clone().prop_map(Step::Forget),
        1 => partition.prop_map(Step::Leave),
        1 => any::<Index>().prop_map(|call| Step::Stale { call }),
        2 => (1..6_usize).prop_map(Step::Concurrency),
        1 => any::<bool>().prop_map(Step::Pause),
        3 => (1_u64..60).prop_map(Step::Pass),
    ]
}

fn portion() -> impl Strategy<Value = Portion> {
    prop_oneof![
        (1..5_usize).prop_map(|records| Portion { lanes: 1, records, bytes: 1000 }),
        (1..8_usize, 1..400_usize).prop_map(|(records, bytes)| Portion {
            lanes: usize::MAX,
            records,
            bytes
        }),
    ]
}

/// Where a record of the present assignment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Waits,
    InCall(u64),
    InLetter,
    Finished,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    lane: LaneId,
    place: Place,
    /// It was handed over before.
    known: bool,
    /// When it may be handed over, as its lane knew when it came to its front.
    not_before: Instant,
}

struct Tenant {
    tenure: Tenure,
    open: bool,
    epoch: Option<i64>,
    leaving: bool,
    /// Those from the oldest unfinished one on.
    records: BTreeMap<i64, Record>,
    next: i64,
    /// One past the last that was handed in.
    end: i64,
}

impl Tenant {
    fn unfinished(&self) -> impl Iterator<Item = (i64, &Record)> {
        let all = self.records.iter().map(|(offset, record)| (*offset, record));
        all.filter(|(_, record)| record.place != Place::Finished)
    }
}

/// A call as its runner has it.
struct Open {
    work: Work<()>,
    /// It was begun in a flood.
    probe: bool,
    finished_early: BTreeSet<i64>,
}

struct World {
    schedule: Pure,
    portion: Portion,
    tenants: BTreeMap<i32, Tenant>,
    calls: Vec<Open>,
    letters: Vec<(Tenure, Vec<Pending<()>>)>,
    failures_in_row: u32,
    paused: bool,
    concurrency: usize,
    epochs: i64,
    now: Instant,
}

impl World {
    fn new(portion: Portion) -> Self {
        let concurrency = 3;
        let schedule = Schedule::new(Limits { concurrency, portion, flood: FLOOD });
        let (calls, letters, tenants) = (Vec::new(), Vec::new(), BTreeMap::new());
        let (failures_in_row, paused, now) = (0, false, Instant::now());
        let mut world = Self {
            schedule,
            portion,
            tenants,
            calls,
            letters,
            failures_in_row,
            paused,
            concurrency,
            epochs: 0,
            now,
        };
        (0..PARTITIONS).for_each(|partition| world.assign(partition, false));
        world
    }

    fn assign(&mut self, partition: i32, closed: bool) {
        let tracker = OffsetTracker::new(Some(0), CompletedMap::default());
        let tenure = self.schedule.assign(slot(partition), tracker, closed, self.now);
        let (open, leaving, records) = (!closed, false, BTreeMap::new());
        let tenant = Tenant { tenure, open, epoch: None, leaving, records, next: 0, end: 0 };
        self.tenants.insert(partition, tenant);
    }

    /// The tenant, if the tenure is the present one.
    fn tenant(&mut self, tenure: Tenure) -> Option<&mut Tenant> {
        let tenant = self.tenants.get_mut(&tenure.slot.partition)?;
        (tenant.tenure == tenure).then_some(tenant)
    }

    fn place(&mut self, tenure: Tenure, offset: i64, place: Place) {
        if let Some(tenant) = self.tenant(tenure) {
            tenant.records.get_mut(&offset).unwrap().place = place;
            while let Some(first) = tenant.records.first_entry()
                && first.get().place == Place::Finished
            {
                first.remove();
            }
        }
    }

    /// Open calls of assignments that are not over.
    fn open_calls(&self) -> impl Iterator<Item = &Open> {
        let present = move |tenure: Tenure| {
            self.tenants.get(&tenure.slot.partition).is_some_and(|tenant| tenant.tenure == tenure)
        };
        self.calls.iter().filter(move |call| present(call.work.tenure))
    }

    fn flooded(&self) -> bool {
        self.failures_in_row >= FLOOD
    }

    fn take(&mut self) -> bool {
        let (open, flooded) = (self.open_calls().count(), self.flooded());
        let probed = self.open_calls().any(|call| call.probe);
        let ready = self.schedule.ready();
        let Some(work) = self.schedule.take(self.now) else {
            assert_eq!(ready, 0, "what is said to be ready can be taken");
            return false;
        };
        assert!(!self.paused && open < self.concurrency, "no call above the bound");
        assert!(!(flooded && probed), "one at a time in a flood, beside those from before it");
        assert!(!work.items.is_empty());
        assert!(work.items.len() <= self.portion.records);
        let lanes: BTreeSet<LaneId> = work.items.iter().map(|(lane, _)| *lane).collect();
        assert!(lanes.len() <= self.portion.lanes);
        assert!(work.items.is_sorted_by_key(|(_, item)| item.offset), "in the partition's order");
        let bytes: usize = work.items.iter().map(|(_, item)| item.bytes).sum();
        assert!(work.items.len() == 1 || bytes <= self.portion.bytes, "{bytes}");
        if self.flooded() || work.items.iter().any(|(_, item)| item.alone || item.failures > 0) {
            assert_eq!(work.items.len(), 1, "who failed speaks for itself");
        }
        let now = self.now;
        let tenant = self.tenant(work.tenure).expect("only what is owned is handed over");
        assert!(tenant.open && !tenant.leaving);
        for (lane, item) in &work.items {
            let first = tenant.unfinished().find(|(_, record)| {
                record.lane == *lane && record.place != Place::InCall(work.call)
            });
            // The oldest of its lane, all others of which wait: no other call or letter has one.
            let (first, _) = first.expect("handed over means unfinished");
            assert_eq!(first, item.offset, "in the order of its lane");
            let others = tenant.unfinished().filter(|(_, record)| record.lane == *lane);
            for (_, other) in others {
                assert!(
                    matches!(other.place, Place::Waits) || other.place == Place::InCall(work.call),
                    "one call at a time has records of a lane: {other:?}"
                );
            }
            let record = tenant.records.get_mut(&item.offset).unwrap();
            assert_eq!(record.place, Place::Waits, "not handed over twice without a return");
            assert!(record.not_before <= now, "not before it is due");
            (record.place, record.known) = (Place::InCall(work.call), true);
        }
        self.calls.push(Open { work, probe: flooded, finished_early: BTreeSet::new() });
        true
    }

    fn settle(&mut self, at: usize, fates: &[Fate], stale_epoch: bool) {
        let Open { work, finished_early, .. } = self.calls.remove(at);
        let (tenure, now) = (work.tenure, self.now);
        let mut settlement = Settlement::empty(tenure, work.call);
        settlement.stale_epoch = stale_epoch;
        let (epoch, mut ends) = (work.epoch, BTreeMap::<LaneId, LaneEnd<()>>::new());
        let mut fates = fates.iter().cycle();
        for (lane, mut item) in work.items {
            let end = ends.entry(lane).or_insert_with(|| LaneEnd {
                lane,
                returned: Vec::new(),
                after: After::Go,
            });
            let offset = item.offset;
            if finished_early.contains(&offset) {
                continue;
            }
            let record = Finished { offset, bytes: item.bytes };
            let fate = *fates.next().unwrap();
            let stopped = end.after != After::Go;
            let place = match fate {
                Fate::Done => {
                    settlement.finished.push(record);
                    settlement.succeeded = true;
                    Place::Finished
                }
                Fate::Retry(_) | Fate::Letter | Fate::Untouched if stopped => {
                    end.returned.push(item);
                    Place::Waits
                }
                Fate::Retry(after_ms) => {
                    let until = now + Duration::from_millis(after_ms);
                    item.failures += 1;
                    settlement.failed += 1;
                    end.after = After::Wait(until);
                    end.returned.push(item);
                    Place::Waits
                }
                Fate::Letter => {
                    settlement.failed += 1;
                    settlement.letters.push(Pending { lane, record, letter: () });
                    end.after = After::Hold;
                    Place::InLetter
                }
                Fate::Alone | Fate::Untouched => {
                    item.alone |= fate == Fate::Alone;
                    end.returned.push(item);
                    Place::Waits
                }
            };
            self.place(tenure, offset, place);
        }
        for end in ends.values() {
            // Only the first waits, and those behind it with it.
            if let (After::Wait(until), Some(first)) = (end.after, end.returned.first())
                && let Some(tenant) = self.tenant(tenure)
            {
                tenant.records.get_mut(&first.offset).unwrap().not_before = until;
            }
        }
        settlement.lanes = ends.into_values().collect();
        if settlement.succeeded {
            self.failures_in_row = 0;
        } else {
            self.failures_in_row += settlement.failed;
        }
        if stale_epoch {
            self.refused(tenure, epoch);
        }
        self.schedule.settle(settlement, now);
    }

    /// Of the present epoch a refusal says something, and of none other.
    fn refused(&mut self, tenure: Tenure, epoch: Option<i64>) {
        if let Some(tenant) = self.tenant(tenure)
            && epoch.is_some()
            && epoch == tenant.epoch
        {
            tenant.open = false;
        }
    }

    fn progress(&mut self, at: usize) {
        let open = &mut self.calls[at];
        let tenure = open.work.tenure;
        let next = open.work.items.iter().map(|(_, item)| item);
        let next = next.into_iter().find(|item| !open.finished_early.contains(&item.offset));
        let Some(record) = next.map(|item| Finished { offset: item.offset, bytes: item.bytes })
        else {
            return;
        };
        open.finished_early.insert(record.offset);
        self.failures_in_row = 0;
        self.place(tenure, record.offset, Place::Finished);
        self.schedule.progress(tenure, vec![record], true, self.now);
    }

    fn publish(&mut self, published: bool) {
        for (tenure, letters) in std::mem::take(&mut self.letters) {
            if published {
                let records: Vec<_> =
                    letters.iter().map(|letter| (letter.lane, letter.record)).collect();
                for (_, record) in &records {
                    self.place(tenure, record.offset, Place::Finished);
                }
                self.schedule.letters_published(tenure, &records, self.now);
            } else {
                self.schedule.return_letters(tenure, letters);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Push { partition, records } => self.push(*partition, records),
            Step::Take => drop(self.take()),
            Step::Settle { call, fates } if !self.calls.is_empty() => {
                self.settle(call.index(self.calls.len()), fates, false);
            }
            Step::Stale { call } if !self.calls.is_empty() => {
                self.settle(call.index(self.calls.len()), &[Fate::Retry(5)], true);
            }
            Step::Progress(call) if !self.calls.is_empty() => {
                self.progress(call.index(self.calls.len()));
            }
            Step::Abandon(call) if !self.calls.is_empty() => {
                let at = call.index(self.calls.len());
                let tenure = self.calls[at].work.tenure;
                self.leave(tenure.slot.partition);
                self.schedule.abandon(tenure.slot);
                let Open { work, .. } = self.calls.remove(at);
                self.schedule.settle(Settlement::empty(tenure, work.call), self.now);
            }
            Step::Settle { .. } | Step::Stale { .. } | Step::Progress(_) | Step::Abandon(_) => {}
            Step::TakeLetters(max) => {
                let taken = self.schedule.take_letters(*max);
                assert!(taken.iter().map(|(_, letters)| letters.len()).sum::<usize>() <= *max);
                self.letters.extend(taken);
            }
            Step::Publish { published } => self.publish(*published),
            Step::Assign { partition, closed } => self.assign(*partition, *closed),
            Step::Open(partition) => self.open(*partition),
            Step::Forget(partition) => {
                self.schedule.forget(slot(*partition));
                self.tenants.remove(partition);
            }
            Step::Leave(partition) => self.leave(*partition),
            Step::Concurrency(calls) => {
                self.concurrency = *calls;
                self.schedule.set_concurrency(*calls);
            }
            Step::Pause(paused) => {
                self.paused = *paused;
                self.schedule.set_paused(*paused, self.now);
            }
            Step::Pass(milliseconds) => self.now += Duration::from_millis(*milliseconds),
        }
    }

    fn push(&mut self, partition: i32, records: &[(LaneId, u64)]) {
        let now = self.now;
        let mut items = Vec::new();
        if let Some(tenant) = self.tenants.get_mut(&partition) {
            for (lane, due_ms) in records {
                let offset = tenant.next;
                // Some offsets are left out, as by compaction.
                tenant.next += 1 + i64::from(offset % 7 == 3);
                tenant.end = offset + 1;
                let bytes = 1 + usize::try_from(offset % 5).unwrap() * 40;
                let not_before = now + Duration::from_millis(*due_ms);
                let due = (*due_ms > 0).then_some(not_before);
                let (lane, place, known) = (*lane, Place::Waits, false);
                tenant.records.insert(offset, Record { lane, place, known, not_before });
                items.push((lane, Item { due, ..Item::new((), offset, bytes) }));
            }
        }
        assert_eq!(self.schedule.push(slot(partition), items, now), 0);
    }

    fn open(&mut self, partition: i32) {
        if let Some(tenant) = self.tenants.get_mut(&partition) {
            tenant.open = true;
            self.epochs += 1;
            tenant.epoch = Some(self.epochs);
            self.schedule.open(tenant.tenure, self.epochs);
        }
    }

    fn leave(&mut self, partition: i32) {
        self.schedule.leave(slot(partition));
        if let Some(tenant) = self.tenants.get_mut(&partition) {
            tenant.leaving = true;
        }
    }

    fn check(&self) {
        assert_eq!(self.schedule.calls, self.open_calls().count());
        let probes = self.open_calls().filter(|call| call.probe).count();
        assert_eq!(self.schedule.flood.counts(), (self.failures_in_row, probes));
        assert!(self.schedule.turn.len() <= self.tenants.len(), "each partition once in the turn");
        for (partition, tenant) in &self.tenants {
            let view = self.schedule.view(slot(*partition)).unwrap();
            let unfinished = tenant.unfinished().count();
            assert_eq!(view.records, unfinished, "records in memory are those not finished");
            let held = tenant.unfinished().filter(|(_, record)| record.place == Place::InLetter);
            assert_eq!(view.letters, held.count(), "each letter is held once");
            let oldest = tenant.unfinished().next().map(|(offset, _)| offset);
            let position = Some(oldest.unwrap_or(tenant.end));
            assert_eq!(view.position, position, "below the oldest unfinished");
            self.schedule.partitions[&slot(*partition)].check();
        }
    }

    /// Everything ends well when all fates do.
    fn drain(&mut self) {
        self.paused = false;
        self.schedule.set_paused(false, self.now);
        // What was abandoned or left ends with its assignment.
        let leaving = self.tenants.iter().filter(|(_, tenant)| tenant.leaving);
        let leaving: Vec<i32> = leaving.map(|(partition, _)| *partition).collect();
        for partition in leaving {
            self.step(&Step::Forget(partition));
        }
        for _ in 0..10_000 {
            self.now += Duration::from_millis(100);
            (0..PARTITIONS).for_each(|partition| self.open(partition));
            let mut quiet = true;
            while self.take() {
                quiet = false;
            }
            while !self.calls.is_empty() {
                quiet = false;
                self.settle(0, &[Fate::Done], false);
            }
            self.letters.extend(self.schedule.take_letters(2));
            quiet &= self.letters.is_empty();
            self.publish(true);
            self.check();
            if quiet {
                break;
            }
        }
        for (partition, tenant) in &self.tenants {
            assert_eq!(tenant.unfinished().next().map(|(offset, _)| offset), None);
            self.schedule.partitions[&slot(*partition)].check_empty();
        }
        assert_eq!((self.schedule.calls, self.schedule.next_due()), (0, None));
        assert!(self.schedule.turn.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_order_and_accounts_hold_and_everything_ends(
        portion in portion(),
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let mut world = World::new(portion);
        for step in &steps {
            world.step(step);
            world.check();
        }
        world.drain();
    }
}
