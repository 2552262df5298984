//! Letters: taken in turns, published with the offsets of their records, or put back.
//!
//! A letter's record is unfinished, and its lane held, until the transaction that carries both is acknowledged. One
//! transaction takes a bounded number of letters, and partitions have their turns in it, so that one with very many
//! doesn't hold up those of the others.

use std::time::Instant;

use super::super::lanes::LaneId;
use super::super::offsets::CommitPoint;
use super::{Finished, Pending, Schedule, Tenure};

impl<R, L> Schedule<R, L> {
    /// Takes letters that wait, by partition, `max` of them at most and each partition's oldest first; their lanes stay
    /// held.
    pub(in super::super) fn take_letters(&mut self, max: usize) -> Vec<(Tenure, Vec<Pending<L>>)> {
        let mut all = Vec::new();
        let mut room = max;
        let (until_last, after) = self
            .partitions
            .iter_mut()
            .partition::<Vec<_>, _>(|(slot, _)| Some(**slot) <= self.letters_of);
        for (slot, partition) in after.into_iter().chain(until_last) {
            let count = partition.letters.len().min(room);
            if count > 0 {
                room -= count;
                let letters = partition.letters.drain(..count).collect();
                all.push((Tenure { slot: *slot, number: partition.number() }, letters));
                self.letters_of = Some(*slot);
            }
        }
        all
    }

    /// Puts letters back that were not published.
    pub(in super::super) fn return_letters(&mut self, tenure: Tenure, letters: Vec<Pending<L>>) {
        if let Some(partition) = self.tenant(tenure) {
            partition.return_letters(letters);
        }
    }

    /// What to commit as if the letters' records were finished, which they are when the transaction is.
    pub(in super::super) fn commit_point_with(
        &self,
        tenure: Tenure,
        offsets: &[i64],
    ) -> Option<CommitPoint> {
        let partition = self.partitions.get(&tenure.slot)?;
        (partition.number() == tenure.number)
            .then(|| partition.tracker.commit_point_with(offsets))
            .flatten()
    }

    /// The letters were published: their records are finished, their lanes go on.
    pub(in super::super) fn letters_published(
        &mut self,
        tenure: Tenure,
        letters: &[(LaneId, Finished)],
        now: Instant,
    ) {
        let Some(partition) = self.partitions.get_mut(&tenure.slot) else { return };
        if partition.number() != tenure.number {
            return;
        }
        partition.letters_published(tenure, letters, &mut self.waiting, now);
        self.enqueue(tenure.slot);
    }
}
