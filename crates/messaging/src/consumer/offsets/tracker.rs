//! One partition's records between delivery and commit, for one assignment.
//!
//! Only what is delivered and unfinished is stored. All else follows from it: below the last delivered offset whatever
//! isn't unfinished is finished or was never there (compaction and transaction markers leave offsets out), and above
//! it only what the last commit's map says is finished. The tracker refuses to guess: an offset that it never handed
//! out can't be finished, and a map that doesn't belong to the committed offset is dropped.
//!
//! A tracker lives as long as the log that it watches. Whoever learns that the topic was made again or the log cut
//! back must start a new one, as the same offsets then name other records.

use std::collections::VecDeque;
use std::ops::Range;

use millrace_runtime::sabotage::{self, Switch};

use super::codec::{METADATA_BYTES_MAX, encode};
use super::map::{CompletedMap, RANGES_MAX};
use super::unfinished::Unfinished;

/// Maps estimated shorter than this teach nothing about how well larger ones compress.
const TELLING_CHARS_MIN: f32 = 512.0;

/// What to do with a record that came from the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivered {
    /// Hand it over; it counts as unfinished from here on.
    New,
    /// It was finished before the last restart: don't hand it over.
    Finished,
    /// It is not above the last one delivered: in flight, finished, or left out by the log. Don't hand it over. As a
    /// partition is read in order this takes a rewind, by the consumer itself or by a log that was cut back.
    Repeat,
}

/// What to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommitPoint {
    /// The oldest unfinished offset, from which a restart reads.
    pub(crate) offset: i64,
    /// The map of what is finished above it; empty when nothing is.
    pub(crate) metadata: String,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct OffsetTracker {
    base: Option<i64>,
    /// Finished before this assignment and not yet passed by deliveries.
    restored: VecDeque<Range<i64>>,
    /// One past the last delivered offset.
    horizon: Option<i64>,
    unfinished: Unfinished,
    /// One past the highest delivered offset that is finished.
    finished_end: i64,
    /// Runs of unfinished offsets below `finished_end`: what a map's length depends on.
    holes: usize,
    version: u64,
    /// Length of the last telling map in terms of its estimate.
    squeeze: f32,
}

impl OffsetTracker {
    /// A partition just assigned: its committed offset, if any, and the map decoded from the same commit.
    pub(crate) fn new(base: Option<i64>, completed: CompletedMap) -> OffsetTracker {
        let restored = match base {
            Some(base) if completed.base() == base => completed.into_ranges().into(),
            _ => VecDeque::new(),
        };
        OffsetTracker {
            base,
            restored,
            horizon: None,
            unfinished: Unfinished::default(),
            finished_end: i64::MIN,
            holes: 0,
            version: 0,
            squeeze: 1.0,
        }
    }

    /// Says what to do with a record. The first one decides where the partition begins: below the committed offset
    /// it makes the map void (other records bear these offsets now), above it nothing is left of what was between.
    pub(crate) fn delivered(&mut self, offset: i64) -> Delivered {
        match self.horizon {
            Some(horizon) if offset < horizon => return Delivered::Repeat,
            None if self.base.is_none_or(|base| offset < base) => self.restored.clear(),
            _ => {}
        }
        if self.horizon != Some(offset) {
            // Offsets that were left out count as finished from now on.
            self.version += 1;
        }
        self.horizon = Some(offset + 1);
        while self.restored.front().is_some_and(|range| range.end <= offset) {
            self.restored.pop_front();
        }
        if self.restored.front().is_some_and(|range| range.start <= offset) {
            self.raise_finished_end(offset);
            return Delivered::Finished;
        }
        self.unfinished.push(offset);
        Delivered::New
    }

    /// Counts a record as finished. False when it isn't unfinished here, which changes nothing.
    pub(crate) fn finished(&mut self, offset: i64) -> bool {
        if !self.unfinished.remove(offset) {
            return false;
        }
        self.version += 1;
        if offset >= self.finished_end {
            self.raise_finished_end(offset);
        } else {
            let before = self.unfinished.contains(offset - 1);
            let after = self.unfinished.contains(offset + 1);
            match (before, after) {
                (true, true) => self.holes += 1,
                (false, false) => self.holes -= 1,
                _ => {}
            }
        }
        true
    }

    fn raise_finished_end(&mut self, offset: i64) {
        self.holes += self.unfinished.runs_beginning_in(self.finished_end..offset);
        self.finished_end = offset + 1;
    }

    /// What a commit would say now; `None` when nothing was ever delivered or committed. Learns from the metadata's
    /// length how well this partition's maps compress.
    pub(crate) fn commit_point(&mut self) -> Option<CommitPoint> {
        let estimate = self.estimated_chars();
        let (offset, ranges) = told(self, &self.unfinished, self.finished_end)?;
        let encoded = encode(offset, &ranges);
        if estimate >= TELLING_CHARS_MIN
            && let Some(encoded) = &encoded
        {
            let chars = if encoded.complete { encoded.metadata.len() } else { METADATA_BYTES_MAX };
            self.squeeze = (chars as f32 / estimate).min(2.0);
        }
        Some(CommitPoint { offset, metadata: encoded.map_or_else(String::new, |e| e.metadata) })
    }

    /// What a commit would say if these offsets were finished too: for letters that are published in one transaction
    /// with their source offset. Offsets that aren't unfinished change nothing.
    pub(crate) fn commit_point_with(&self, finished_too: &[i64]) -> Option<CommitPoint> {
        let mut unfinished = self.unfinished.clone();
        let mut finished_end = self.finished_end;
        for &offset in finished_too {
            if unfinished.remove(offset) {
                finished_end = finished_end.max(offset + 1);
            }
        }
        let (offset, ranges) = told(self, &unfinished, finished_end)?;
        let metadata = encode(offset, &ranges).map_or_else(String::new, |e| e.metadata);
        Some(CommitPoint { offset, metadata })
    }

    /// The offset that [`Self::commit_point`] would commit, without encoding the map.
    pub(crate) fn position(&self) -> Option<i64> {
        self.position_with(&self.unfinished)
    }

    fn position_with(&self, unfinished: &Unfinished) -> Option<i64> {
        unfinished.first().or_else(|| {
            let read_to = self.horizon.or(self.base)?;
            // Nothing unfinished: what earlier assignments finished right behind is done as well.
            let restored = self.restored.front().filter(|range| range.start <= read_to);
            Some(restored.map_or(read_to, |range| range.end))
        })
    }

    /// Moves whenever the commit point may have: as long as it stands there is nothing new to commit.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Delivered records that aren't finished; the schedule counts its own.
    #[cfg(test)]
    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished.len()
    }

    /// How full the map is, 1.0 being what a commit can carry; above it the map is cut short. An estimate in constant
    /// time from the number of holes and the span, corrected by how the last map compressed: commit before intake is
    /// stopped for it, and ask again.
    pub(crate) fn fullness(&self) -> f32 {
        self.estimated_chars() * self.squeeze / METADATA_BYTES_MAX as f32
    }

    /// Length of the metadata by rule of thumb: zstd halves run lengths and leaves bits as they are.
    fn estimated_chars(&self) -> f32 {
        let end = self.restored.back().map_or(self.finished_end, |range| range.end);
        let span = self.position().map_or(0, |position| end.saturating_sub(position));
        if span <= 0 {
            return 0.0;
        }
        let run_lengths = 1.0 + 4.0 * (self.holes + self.restored.len()) as f32;
        let bit_set = 5.0 + span as f32 / 8.0;
        run_lengths.min(bit_set) * 4.0 / 3.0
    }
}

/// The commit offset and the finished ranges above it, if `unfinished` were what is unfinished.
fn told(
    tracker: &OffsetTracker,
    unfinished: &Unfinished,
    finished_end: i64,
) -> Option<(i64, Vec<Range<i64>>)> {
    let offset = tracker.position_with(unfinished)?;
    let read_to = tracker.horizon.unwrap_or(offset);
    if sabotage::on(Switch::DropOffsetMapHoles) {
        return Some((offset, Vec::from_iter((offset + 1 < read_to).then(|| offset + 1..read_to))));
    }
    let holes = unfinished.runs_below(finished_end, RANGES_MAX);
    let mut ranges: Vec<Range<i64>> =
        holes.windows(2).map(|pair| pair[0].end..pair[1].start).collect();
    if holes.len() == RANGES_MAX {
        // More holes may follow: nothing is told beyond these.
        return Some((offset, ranges));
    }
    if let Some(last) = holes.last()
        && last.end < finished_end
    {
        ranges.push(last.end..finished_end);
    }
    for range in &tracker.restored {
        let start = range.start.max(read_to).max(offset);
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = range.end,
            _ if start < range.end => ranges.push(start..range.end),
            _ => {}
        }
    }
    Some((offset, ranges))
}

#[cfg(test)]
mod tests {
    use super::super::decode;
    use super::*;

    /// Committed at 100; 102, 103 and 106 are finished.
    fn restored() -> OffsetTracker {
        let mut tracker = OffsetTracker::new(Some(100), CompletedMap::default());
        (100..110).for_each(|offset| assert_eq!(tracker.delivered(offset), Delivered::New));
        for offset in [102, 103, 106] {
            assert!(tracker.finished(offset));
        }
        let point = tracker.commit_point().unwrap();
        assert_eq!(point.offset, 100);
        OffsetTracker::new(Some(100), decode(100, &point.metadata).unwrap())
    }

    fn deliver(tracker: &mut OffsetTracker, offsets: Range<i64>) -> Vec<i64> {
        offsets.filter(|&offset| tracker.delivered(offset) == Delivered::New).collect()
    }

    #[test]
    fn only_the_holes_are_handed_over_after_a_restart() {
        assert_eq!(deliver(&mut restored(), 100..110), [100, 101, 104, 105, 107, 108, 109]);
    }

    #[test]
    fn a_map_is_carried_on_before_its_offsets_are_read_again() {
        let mut tracker = restored();
        let untouched = tracker.commit_point().unwrap();
        assert_eq!(decode(100, &untouched.metadata).unwrap().ranges(), [102..104, 106..107]);
        assert_eq!(deliver(&mut tracker, 100..102), [100, 101]);
        assert!(tracker.finished(100));
        assert_eq!(tracker.position(), Some(101));
        assert!(tracker.finished(101));
        assert_eq!(tracker.position(), Some(104), "102 and 103 were finished by the owner before");
        let point = tracker.commit_point().unwrap();
        let map = decode(104, &point.metadata).unwrap();
        assert!(map.contains(106) && map.completed() == 1);
    }

    #[test]
    fn a_first_record_below_the_committed_offset_voids_the_map() {
        let mut tracker = restored();
        assert_eq!(deliver(&mut tracker, 0..110).len(), 110);
        assert_eq!(tracker.position(), Some(0));
    }

    #[test]
    fn a_first_record_above_the_committed_offset_leaves_what_is_between_behind() {
        let mut tracker = restored();
        assert_eq!(deliver(&mut tracker, 105..108), [105, 107]);
        assert_eq!(tracker.position(), Some(105));
        assert!(tracker.finished(105) && tracker.finished(107));
        assert_eq!(tracker.position(), Some(108));
    }

    #[test]
    fn a_map_of_another_offset_or_of_none_is_dropped() {
        let map = decode(100, "ZQAAAAEAAAAF").unwrap();
        assert!(map.contains(101));
        for base in [None, Some(99), Some(101)] {
            let mut tracker = OffsetTracker::new(base, map.clone());
            assert_eq!(deliver(&mut tracker, 99..110).len(), 11, "{base:?}");
        }
    }

    #[test]
    fn a_partition_without_commit_or_record_has_nothing_to_commit() {
        let mut tracker = OffsetTracker::new(None, CompletedMap::default());
        assert_eq!((tracker.commit_point(), tracker.position()), (None, None));
        assert!(!tracker.finished(0));
        assert_eq!(tracker.delivered(7), Delivered::New);
        assert_eq!(tracker.position(), Some(7));
    }

    #[test]
    fn a_hole_that_stays_for_a_million_records_costs_neither_memory_nor_map() {
        let mut tracker = OffsetTracker::new(Some(0), CompletedMap::default());
        for offset in 0..1_000_000 {
            tracker.delivered(offset);
            if offset > 5_000 {
                tracker.finished(offset - 5_000);
            }
        }
        assert_eq!(tracker.unfinished(), 5_001);
        assert!(tracker.unfinished.words() < 5_000 / 64 + 100, "{}", tracker.unfinished.words());
        let point = tracker.commit_point().unwrap();
        assert_eq!((point.offset, point.metadata.as_str()), (0, "ZQAAAAEADy63"));
        assert!(tracker.fullness() < 0.01);
    }

    #[test]
    fn fullness_rises_with_the_holes_and_falls_when_they_close() {
        let mut tracker = OffsetTracker::new(Some(0), CompletedMap::default());
        let mut seen = Vec::new();
        for offset in 0..100_000 {
            tracker.delivered(offset);
            if offset % 97 != 0 {
                tracker.finished(offset);
            }
            seen.push(tracker.fullness());
        }
        assert!(seen.is_sorted() && seen[0] == 0.0, "more holes never make it emptier");
        assert!(seen.last().is_some_and(|full| *full > 1.0));
        tracker.commit_point();
        assert!(tracker.fullness() < 0.5, "evenly spaced holes compress well");
        (0..100_000).filter(|offset| offset % 97 == 0).for_each(|offset| {
            assert!(tracker.finished(offset));
        });
        assert_eq!(tracker.fullness(), 0.0);
        assert_eq!(
            tracker.commit_point().map(|p| (p.offset, p.metadata)),
            Some((100_000, String::new()))
        );
    }
}
