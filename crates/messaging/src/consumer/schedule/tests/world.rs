//! The simple world: which partitions are owned, and where each of their records is.

use super::steps::{Fate, Step};
use super::*;

mod runners;

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

pub(super) struct World {
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
    pub(super) fn new(portion: Portion) -> Self {
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

    pub(super) fn step(&mut self, step: &Step) {
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

    pub(super) fn check(&self) {
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
    pub(super) fn drain(&mut self) {
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
