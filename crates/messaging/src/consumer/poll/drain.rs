//! Giving partitions back in good order, within a bound.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::consumer::partition::Partition;
use crate::consumer::progress::Phase;

/// What commits get after the workers have had their time.
const COMMIT_GRACE: Duration = Duration::from_secs(2);

/// Some partitions on their way out.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) partitions: Vec<i32>,
    /// Somebody else may have them already: nothing is waited for or committed.
    lost: bool,
    /// From here on what runs is dropped.
    abandon_at: Instant,
    abandoned: bool,
}

/// How far a drain has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Workers still finish what they have in hand.
    Finishing,
    /// Workers have ended, their offsets are not yet acknowledged.
    Committing,
    /// The partitions can be given back.
    Done,
}

impl Drain {
    pub(super) fn start(
        owned: &mut BTreeMap<i32, Partition>,
        partitions: Vec<i32>,
        lost: bool,
        bound: Duration,
    ) -> Self {
        for number in &partitions {
            if let Some(partition) = owned.get_mut(number) {
                partition.leaving = true;
                partition.finish.cancel();
                if lost {
                    partition.abandon.cancel();
                }
            }
        }
        Self { partitions, lost, abandon_at: Instant::now() + bound, abandoned: lost }
    }

    pub(super) fn step(&mut self, owned: &BTreeMap<i32, Partition>, now: Instant) -> Step {
        if self.lost {
            return Step::Done;
        }
        let leaving = || self.partitions.iter().filter_map(|number| owned.get(number));
        if !self.abandoned && now >= self.abandon_at {
            leaving().for_each(|partition| partition.abandon.cancel());
            self.abandoned = true;
        }
        let finished = leaving().all(|partition| partition.progress.read().phase == Phase::Ended);
        let out_of_time = now >= self.abandon_at + COMMIT_GRACE;
        if out_of_time || (finished && leaving().all(|partition| partition.to_commit().is_none())) {
            Step::Done
        } else if finished {
            Step::Committing
        } else {
            Step::Finishing
        }
    }

    /// True when workers were cut off.
    pub(super) fn cut_off(&self) -> bool {
        self.abandoned
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use millrace_runtime::CancellationToken;

    use super::*;
    use crate::consumer::progress::Progress;

    const BOUND: Duration = Duration::from_secs(5);

    fn owned() -> BTreeMap<i32, Partition> {
        let (inbox, _) = tokio::sync::mpsc::unbounded_channel();
        let (finish, abandon) = (CancellationToken::new(), CancellationToken::new());
        BTreeMap::from([(7, Partition::new(Arc::new(Progress::new()), inbox, finish, abandon))])
    }

    #[test]
    fn a_drain_waits_for_the_worker_then_for_the_commit() {
        let mut owned = owned();
        let mut drain = Drain::start(&mut owned, vec![7], false, BOUND);
        let now = Instant::now();
        assert!(owned[&7].finish.is_cancelled() && !owned[&7].abandon.is_cancelled());
        assert_eq!(drain.step(&owned, now), Step::Finishing);
        owned[&7].progress.settled(10, 0, 0);
        owned[&7].progress.enter(Phase::Ended);
        assert_eq!(drain.step(&owned, now), Step::Committing);
        owned.get_mut(&7).unwrap().committed = Some(10);
        assert_eq!(drain.step(&owned, now), Step::Done);
        assert!(!drain.cut_off());
    }

    #[test]
    fn a_worker_that_does_not_end_is_cut_off_at_the_bound() {
        let mut owned = owned();
        let mut drain = Drain::start(&mut owned, vec![7], false, BOUND);
        let at_bound = Instant::now() + BOUND;
        assert_eq!(drain.step(&owned, at_bound), Step::Finishing);
        assert!(owned[&7].abandon.is_cancelled() && drain.cut_off());
        assert_eq!(drain.step(&owned, at_bound + COMMIT_GRACE), Step::Done);
    }

    #[test]
    fn lost_partitions_are_dropped_at_once() {
        let mut owned = owned();
        owned[&7].progress.settled(10, 0, 0);
        let mut drain = Drain::start(&mut owned, vec![7], true, BOUND);
        assert!(owned[&7].abandon.is_cancelled());
        assert_eq!(drain.step(&owned, Instant::now()), Step::Done);
    }
}
