//! Whether everything arrived once and in order, checked while it is measured.
//!
//! The check is part of what is timed, so it costs two atomic operations a record and is the same on both sides of
//! each ratio. Anything but the next number of its key is remembered as a break, and the totals are compared at the
//! end. The same counter places the marks: when the warm-up ends, half-way, and at the last record.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::records::RecordSet;
use crate::usage::Mark;

/// Whoever is told about records that arrive.
pub(crate) trait Sink: Send + Sync + 'static {
    /// Takes note of one record of a partition; [`Sink::handled`] counts it.
    fn enter(&self, partition: i32, numbers: anyhow::Result<(u32, u32)>);
    /// Counts records that are done.
    fn handled(&self, records: u64);
}

/// The books of one measurement.
#[derive(Debug)]
pub(crate) struct Ledger {
    last: Vec<AtomicU32>,
    totals: Vec<u32>,
    handled: AtomicU64,
    repeated: AtomicU64,
    jumped: AtomicU64,
    unreadable: AtomicU64,
    milestones: [(u64, OnceLock<(Mark, u64)>); 3],
    all_handled: Notify,
}

/// What the machine was asked for between the warm-up's end and the last record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    pub(crate) start: Mark,
    pub(crate) middle: Mark,
    pub(crate) end: Mark,
    /// Records done between start and end.
    pub(crate) records: u64,
}

impl Ledger {
    /// Books for a set whose first `warm_up` records don't count.
    pub(crate) fn new(set: &RecordSet, warm_up: u32) -> Self {
        let (warm_up, count) = (u64::from(warm_up), u64::from(set.count));
        let at = |milestone: u64| (milestone.max(1), OnceLock::new());
        Self {
            last: (0..set.keys).map(|_| AtomicU32::new(0)).collect(),
            totals: set.totals(),
            handled: AtomicU64::new(0),
            repeated: AtomicU64::new(0),
            jumped: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            milestones: [at(warm_up), at(warm_up.midpoint(count)), at(count)],
            all_handled: Notify::new(),
        }
    }

    /// Waits until as many records as the set has are done.
    pub(crate) async fn all_handled(&self) -> Marks {
        loop {
            let mut changed = std::pin::pin!(self.all_handled.notified());
            // Before the look: a notification between look and wait is not missed.
            changed.as_mut().enable();
            if let [(_, start), (_, middle), (_, end)] = &self.milestones
                && let (Some((start, before)), Some((middle, _)), Some((end, after))) =
                    (start.get(), middle.get(), end.get())
            {
                let records = after - before;
                return Marks { start: *start, middle: *middle, end: *end, records };
            }
            changed.await;
        }
    }

    /// How many records are done.
    pub(crate) fn count(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }

    /// Whether the set arrived whole, once and in order per key; to be asked when nothing comes any more.
    pub(crate) fn promise(&self) -> Result<(), String> {
        let repeats = [
            (self.repeats(), "came again or behind a later one"),
            (self.count().saturating_sub(self.wanted()), "are too many"),
        ];
        self.told(repeats.into_iter().chain(self.losses()))
    }

    /// The same where a fault may make a run of records come again from an earlier one on.
    pub(crate) fn promise_at_least_once(&self) -> Result<(), String> {
        self.told(self.losses())
    }

    /// How often records came again.
    pub(crate) fn repeats(&self) -> u64 {
        self.repeated.load(Ordering::Relaxed)
    }

    /// Keys whose last record has not arrived.
    pub(crate) fn unfinished_keys(&self) -> usize {
        let lasts = self.last.iter().map(|last| last.load(Ordering::Relaxed));
        lasts.zip(&self.totals).filter(|(last, total)| last != *total).count()
    }

    fn losses(&self) -> impl Iterator<Item = (u64, &'static str)> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            (read(&self.jumped), "came without the one before it"),
            (read(&self.unreadable), "could not be read"),
            (self.unfinished_keys() as u64, "keys ended at another number"),
            (self.wanted().saturating_sub(self.count()), "are lost"),
        ]
        .into_iter()
    }

    fn told(&self, problems: impl Iterator<Item = (u64, &'static str)>) -> Result<(), String> {
        let told: Vec<String> = problems
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if told.is_empty() {
            Ok(())
        } else {
            Err(format!("of {} records {}", self.wanted(), told.join(", ")))
        }
    }

    fn wanted(&self) -> u64 {
        self.totals.iter().map(|total| u64::from(*total)).sum()
    }
}

impl Sink for Ledger {
    fn enter(&self, _: i32, numbers: anyhow::Result<(u32, u32)>) {
        let Ok((key, number)) = numbers else {
            self.unreadable.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let Some(last) = self.last.get(key as usize) else {
            self.unreadable.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let previous = last.swap(number, Ordering::Relaxed);
        if number <= previous {
            self.repeated.fetch_add(1, Ordering::Relaxed);
        } else if number != previous + 1 {
            self.jumped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Marks the time when they reach a milestone.
    fn handled(&self, records: u64) {
        let before = self.handled.fetch_add(records, Ordering::Relaxed);
        for (milestone, mark) in &self.milestones {
            if before < *milestone && *milestone <= before + records {
                mark.get_or_init(|| (Mark::now(), before + records));
                self.all_handled.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Form, Spread};

    type Change = fn(&mut Vec<(u32, u32)>);

    const SET: RecordSet =
        RecordSet { count: 500, keys: 7, form: Form::Raw, spread: Spread::Even, seed: 1 };

    fn after(change: impl FnOnce(&mut Vec<(u32, u32)>)) -> Result<(), String> {
        let ledger = Ledger::new(&SET, 50);
        let mut records: Vec<_> = SET.numbered().collect();
        change(&mut records);
        for record in records {
            ledger.enter(0, Ok(record));
            ledger.handled(1);
        }
        ledger.promise()
    }

    #[test]
    fn only_a_whole_set_in_order_keeps_the_promise() {
        assert_eq!(after(|_| ()), Ok(()));
        let planted: [(&str, Change); 4] = [
            ("are lost", |records| records.truncate(400)),
            ("came again", |records| records.insert(300, records[299])),
            ("came without", |records| {
                let key = records[100].0;
                let next = 101 + records[101..].iter().position(|record| record.0 == key).unwrap();
                records.swap(100, next);
            }),
            ("ended at another", |records| records.truncate(499)),
        ];
        for (told, change) in planted {
            let problem = after(change).unwrap_err();
            assert!(problem.contains(told), "{told}: {problem}");
        }
    }

    #[test]
    fn a_run_that_comes_again_keeps_the_weaker_promise_and_is_counted() {
        let ledger = Ledger::new(&SET, 50);
        let all: Vec<_> = SET.numbered().collect();
        for record in all.iter().chain(&all[450..]) {
            ledger.enter(0, Ok(*record));
            ledger.handled(1);
        }
        assert!(ledger.promise().is_err());
        assert_eq!(ledger.promise_at_least_once(), Ok(()));
        assert!(ledger.repeats() > 0 && ledger.unfinished_keys() == 0);
    }

    #[test]
    fn what_can_t_be_read_breaks_the_promise() {
        let ledger = Ledger::new(&SET, 1);
        ledger.enter(0, Err(anyhow::anyhow!("torn")));
        ledger.enter(0, Ok((7, 1)));
        assert!(ledger.promise().unwrap_err().contains("2 could not be read"));
    }

    #[tokio::test]
    async fn the_marks_are_set_by_batches_that_step_over_them() {
        let ledger = Ledger::new(&SET, 50);
        for _ in 0..5 {
            ledger.handled(100);
        }
        let marks = ledger.all_handled().await;
        assert_eq!(marks.records, 400);
        assert!(marks.start.at <= marks.middle.at && marks.middle.at < marks.end.at);
        assert!(marks.start.processor <= marks.end.processor);
    }
}
