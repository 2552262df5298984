//! Giving partitions back in good order, within a bound.

use std::time::{Duration, Instant};

use crate::consumer::slot::Slot;

/// What commits get after the calls have had their time.
const COMMIT_GRACE: Duration = Duration::from_secs(2);

/// Some partitions on their way out; nothing more of them is handed over.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) slots: Vec<Slot>,
    /// Somebody else may have them already: nothing is waited for or committed.
    lost: bool,
    /// From here on what runs is dropped.
    abandon_at: Instant,
    abandoned: bool,
}

/// What a partition on its way out still has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rest {
    pub(super) calls: usize,
    pub(super) letters: usize,
    pub(super) uncommitted: bool,
}

/// How far a drain has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Calls and letters finish.
    Finishing,
    /// The bound has passed: what runs shall be dropped, once.
    Abandon,
    /// Nothing runs, offsets are not yet acknowledged.
    Committing,
    /// The partitions can be given back.
    Done,
}

impl Drain {
    pub(super) fn start(slots: Vec<Slot>, lost: bool, bound: Duration, now: Instant) -> Self {
        Self { slots, lost, abandon_at: now + bound, abandoned: lost }
    }

    pub(super) fn step(&mut self, rest: impl Fn(Slot) -> Option<Rest>, now: Instant) -> Step {
        if self.lost {
            return Step::Done;
        }
        if !self.abandoned && now >= self.abandon_at {
            self.abandoned = true;
            return Step::Abandon;
        }
        let rests: Vec<Rest> = self.slots.iter().filter_map(|slot| rest(*slot)).collect();
        let running = rests.iter().any(|rest| rest.calls > 0);
        // Letters are given up with the calls: their records are not committed, so the next owner has them again.
        let letters = !self.abandoned && rests.iter().any(|rest| rest.letters > 0);
        if self.out_of_time(now)
            || !(running || letters || rests.iter().any(|rest| rest.uncommitted))
        {
            Step::Done
        } else if running || letters {
            Step::Finishing
        } else {
            Step::Committing
        }
    }

    /// Whatever is left now is left to the next owner.
    pub(super) fn out_of_time(&self, now: Instant) -> bool {
        now >= self.abandon_at + COMMIT_GRACE
    }

    /// True when calls were cut off.
    pub(super) fn cut_off(&self) -> bool {
        self.abandoned && !self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(5);
    const SLOT: Slot = Slot { topic: 0, partition: 7 };

    fn rest(calls: usize, letters: usize, uncommitted: bool) -> impl Fn(Slot) -> Option<Rest> {
        move |slot| (slot == SLOT).then_some(Rest { calls, letters, uncommitted })
    }

    #[test]
    fn a_drain_waits_for_calls_then_for_letters_then_for_the_commit() {
        let now = Instant::now();
        let mut drain = Drain::start(vec![SLOT], false, BOUND, now);
        assert_eq!(drain.step(rest(1, 0, true), now), Step::Finishing);
        assert_eq!(drain.step(rest(0, 1, true), now), Step::Finishing);
        assert_eq!(drain.step(rest(0, 0, true), now), Step::Committing);
        assert_eq!(drain.step(rest(0, 0, false), now), Step::Done);
        assert!(!drain.cut_off());
    }

    #[test]
    fn what_does_not_end_is_cut_off_at_the_bound_and_the_commit_has_its_own() {
        let now = Instant::now();
        let mut drain = Drain::start(vec![SLOT], false, BOUND, now);
        assert_eq!(drain.step(rest(1, 1, true), now + BOUND), Step::Abandon);
        assert!(drain.cut_off());
        assert_eq!(drain.step(rest(0, 1, true), now + BOUND), Step::Committing);
        assert_eq!(drain.step(rest(1, 1, true), now + BOUND + COMMIT_GRACE), Step::Done);
    }

    #[test]
    fn lost_partitions_are_dropped_at_once() {
        let now = Instant::now();
        let mut drain = Drain::start(vec![SLOT], true, BOUND, now);
        assert_eq!(drain.step(rest(1, 1, true), now), Step::Done);
        assert!(!drain.cut_off());
    }
}
