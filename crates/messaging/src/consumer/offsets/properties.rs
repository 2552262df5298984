//! The tracker and the codec against models that are too simple to be wrong.

use std::collections::BTreeSet;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::codec::METADATA_BYTES_MAX;
use super::map::RANGES_MAX;
use super::unfinished::Unfinished;
use super::{CompletedMap, Delivered, OffsetTracker, decode};

/// A partition with left-out offsets, read again and again by owners that remember only what they committed.
struct World {
    log: Vec<i64>,
    next: usize,
    tracker: OffsetTracker,
    in_flight: BTreeSet<i64>,
    /// Whatever any owner ever finished.
    done: BTreeSet<i64>,
}

#[derive(Debug, Clone)]
enum Step {
    Deliver(u8),
    Finish(prop::sample::Index),
    FinishOldest,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u8..20).prop_map(Step::Deliver),
        16 => any::<prop::sample::Index>().prop_map(Step::Finish),
        8 => Just(Step::FinishOldest),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..250)
}

fn logs() -> impl Strategy<Value = Vec<i64>> {
    let gap = prop_oneof![12 => Just(1_i64), 2 => 2_i64..5, 1 => 5_i64..300];
    (0_i64..200, prop::collection::vec(gap, 1..400)).prop_map(|(start, gaps)| {
        let after = |at: &mut i64, gap: i64| {
            *at += gap;
            Some(*at)
        };
        gaps.into_iter().scan(start, after).collect()
    })
}

impl World {
    fn new(log: Vec<i64>) -> World {
        let tracker = OffsetTracker::new(None, CompletedMap::default());
        World { log, next: 0, tracker, in_flight: BTreeSet::new(), done: BTreeSet::new() }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Deliver(count) => (0..*count).for_each(|_| self.deliver()),
            Step::Finish(which) if !self.in_flight.is_empty() => {
                let nth = which.index(self.in_flight.len());
                let offset = *self.in_flight.iter().nth(nth).unwrap();
                self.finish(offset);
            }
            Step::FinishOldest => {
                if let Some(&offset) = self.in_flight.first() {
                    self.finish(offset);
                }
            }
            Step::Finish(_) => {}
            Step::Restart => self.restart(),
        }
    }

    fn deliver(&mut self) {
        let Some(&offset) = self.log.get(self.next) else { return };
        self.next += 1;
        match self.tracker.delivered(offset) {
            Delivered::New => {
                assert!(!self.done.contains(&offset), "{offset} is handed over a second time");
                self.in_flight.insert(offset);
            }
            Delivered::Finished => assert!(self.done.contains(&offset), "{offset} is skipped"),
            Delivered::Repeat => panic!("{offset} was never delivered to this owner"),
        }
        assert_eq!(self.tracker.delivered(offset), Delivered::Repeat);
    }

    fn finish(&mut self, offset: i64) {
        assert!(self.tracker.finished(offset));
        assert!(!self.tracker.finished(offset), "finishing twice changes nothing");
        self.in_flight.remove(&offset);
        self.done.insert(offset);
    }

    /// The owner dies; the next one has the last commit and nothing else.
    fn restart(&mut self) {
        let Some(point) = self.tracker.commit_point() else { return };
        let map = decode(point.offset, &point.metadata).unwrap();
        self.tracker = OffsetTracker::new(Some(point.offset), map);
        self.in_flight.clear();
        self.next = self.log.partition_point(|&offset| offset < point.offset);
    }

    fn check(&mut self) {
        assert_eq!(self.tracker.unfinished(), self.in_flight.len());
        let full = self.tracker.fullness();
        let Some(point) = self.tracker.commit_point() else {
            assert_eq!(self.next, 0, "only an untouched partition has nothing to commit");
            return;
        };
        assert_eq!(self.tracker.position(), Some(point.offset));
        assert_eq!(self.tracker.commit_point_with(&[]), Some(point.clone()));
        assert_promises(&self.log, &self.done, &point.offset, &point.metadata);
        let map = decode(point.offset, &point.metadata).unwrap();
        let told = |offset: &i64| map.contains(*offset) || *offset < point.offset;
        assert!(self.done.iter().all(told), "a map that fits leaves nothing out");
        assert_eq!(full == 0.0, map.is_empty());
    }
}

/// Nothing below the offset or in the map is unfinished.
fn assert_promises(log: &[i64], done: &BTreeSet<i64>, offset: &i64, metadata: &str) {
    assert!(metadata.len() <= METADATA_BYTES_MAX);
    let map = decode(*offset, metadata).unwrap();
    for record in log.iter().filter(|record| !done.contains(record)) {
        assert!(record >= offset, "the commit at {offset} loses {record}");
        assert!(!map.contains(*record), "the map above {offset} loses {record}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_restart_at_any_moment_repeats_exactly_the_unfinished(log in logs(), steps in steps()) {
        let mut world = World::new(log);
        for step in &steps {
            world.step(step);
            world.check();
        }
        world.restart();
        world.check();
    }

    #[test]
    fn nothing_to_commit_changes_while_the_version_stands(log in logs(), steps in steps()) {
        let mut world = World::new(log);
        let mut seen = (world.tracker.version(), world.tracker.commit_point());
        for step in steps.iter().filter(|step| !matches!(step, Step::Restart)) {
            world.step(step);
            let now = (world.tracker.version(), world.tracker.commit_point());
            prop_assert!(now.0 != seen.0 || now.1 == seen.1);
            seen = now;
        }
    }

    #[test]
    fn a_commit_with_letters_is_the_one_that_follows_when_they_are_finished(
        log in logs(), steps in steps(), letters in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let mut world = World::new(log);
        steps.iter().for_each(|step| world.step(step));
        let unfinished: Vec<i64> = world.in_flight.iter().copied().collect();
        let mut too: Vec<i64> = vec![-1, i64::MAX - 1];
        if !unfinished.is_empty() {
            too.extend(letters.iter().map(|letter| *letter.get(&unfinished)));
        }
        let foreseen = world.tracker.commit_point_with(&too);
        let before = world.tracker.commit_point();
        too.iter().for_each(|&offset| { world.tracker.finished(offset); });
        prop_assert_eq!(&foreseen, &world.tracker.commit_point());
        prop_assert!(before.map(|p| p.offset) <= foreseen.map(|p| p.offset));
    }

    #[test]
    fn what_is_no_map_is_refused_without_panic(text in ".{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..300), magic in prop::sample::select(b"nJeplaos\x01\x02L\xee".to_vec())) {
        drop(decode(5, &text));
        drop(decode(5, &STANDARD.encode(&bytes)));
        assert_inside_what_was_encoded(&[&[magic], bytes.as_slice()].concat());
    }

    #[test]
    fn flipped_bits_never_finish_what_was_not_encoded(
        lengths in prop::collection::vec(1_i64..500, 1..200), flips in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let ends: Vec<i64> = lengths.iter().scan(0, |at, n| { *at += n; Some(*at) }).collect();
        let ranges: Vec<Range<i64>> = ends.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect();
        for mut payload in super::codec::every_form(0, &ranges) {
            for flip in &flips {
                let bit = flip.index(payload.len() * 8);
                payload[bit / 8] ^= 1 << (bit % 8);
            }
            assert_inside_what_was_encoded(&payload);
        }
    }

    #[test]
    fn every_form_reads_back_as_it_was_written(lengths in prop::collection::vec(1_i64..500, 2..200), base in 0_i64..=1 << 60) {
        let ends: Vec<i64> = lengths.iter().scan(base, |at, n| { *at += n; Some(*at) }).collect();
        let ranges: Vec<Range<i64>> = ends.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect();
        for payload in super::codec::every_form(base, &ranges) {
            let text = STANDARD.encode(payload);
            if text.len() <= METADATA_BYTES_MAX {
                let map = decode(base, &text).unwrap();
                prop_assert_eq!(map.ranges(), ranges.as_slice());
                prop_assert_eq!(map.base(), base);
            }
        }
    }

    #[test]
    fn unfinished_offsets_are_what_a_plain_set_says(
        gaps in prop::collection::vec(prop_oneof![8 => Just(1_i64), 1 => 2_i64..200, 1 => Just(65)], 1..600),
        takes in prop::collection::vec(any::<prop::sample::Index>(), 0..600), window in (0_i64..4000, 0_i64..300),
    ) {
        let (mut set, mut model, mut offset) = (Unfinished::default(), BTreeSet::new(), 1000);
        let mut takes = takes.iter();
        for gap in gaps {
            offset += gap;
            set.push(offset);
            model.insert(offset);
            if let Some(take) = takes.next() {
                // Out of order, but mostly near the front.
                let nth = take.index(model.len()).min(take.index(8));
                let taken = *model.iter().nth(nth).unwrap();
                prop_assert!(set.remove(taken) && model.remove(&taken) && !set.remove(taken));
            }
        }
        let starts: Vec<i64> = model.iter().copied().filter(|o| !model.contains(&(o - 1))).collect();
        let window = window.0..window.0 + window.1;
        prop_assert_eq!(set.first(), model.first().copied());
        prop_assert_eq!(set.len(), model.len());
        prop_assert!((window.clone()).all(|o| set.contains(o) == model.contains(&o)));
        prop_assert_eq!(set.runs_beginning_in(window.clone()), starts.iter().filter(|s| window.contains(s)).count());
        let runs = set.runs_below(window.end, usize::MAX);
        prop_assert_eq!(runs.iter().map(|r| r.start).collect::<Vec<_>>(), starts.iter().copied().filter(|s| *s < window.end).collect::<Vec<_>>());
        prop_assert!(runs.iter().all(|r| r.clone().all(|o| model.contains(&o)) && !model.contains(&r.end)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_map_that_does_not_fit_tells_less_and_never_more(
        base in 0_i64..1_000_000_000_000, holes in prop::collection::vec((1_i64..40, 1_i64..4000), 2500..3500),
    ) {
        let mut tracker = OffsetTracker::new(Some(base), CompletedMap::default());
        let (mut log, mut done, mut at) = (Vec::new(), BTreeSet::new(), base);
        for &(hole, finished) in &holes {
            // A record each at the ends of the runs; what is between is left out by the log.
            for (offset, finish) in [(at, false), (at + hole, true), (at + hole + finished - 1, true)] {
                if tracker.delivered(offset) == Delivered::New {
                    log.push(offset);
                }
                if finish && tracker.finished(offset) {
                    done.insert(offset);
                }
            }
            at += hole + finished;
        }
        prop_assert!(tracker.fullness() >= 1.0);
        let point = tracker.commit_point().unwrap();
        prop_assert_eq!(point.offset, base);
        assert_promises(&log, &done, &point.offset, &point.metadata);
        prop_assert!(point.metadata.len() > METADATA_BYTES_MAX * 9 / 10, "{}", point.metadata.len());
        prop_assert!(tracker.fullness() >= 0.99, "intake stays stopped: {}", tracker.fullness());
    }
}

/// Whatever a payload decodes to stays above its base and inside the lengths that it names, and is bounded.
fn assert_inside_what_was_encoded(payload: &[u8]) {
    const BASE: i64 = 1000;
    let Ok(map) = decode(BASE, &STANDARD.encode(payload)) else { return };
    let numbers = |width: usize| payload[1..].chunks_exact(width).map(be);
    let end_max = match payload.first() {
        Some(b'n') => numbers(2).sum(),
        Some(b'e') => numbers(4).sum(),
        Some(b'l') => numbers(2).next().unwrap(),
        Some(b'o') => numbers(4).next().unwrap(),
        // Unpacked, a map has at most half a mebibyte: that many bits, or numbers.
        Some(_) => i64::from(i32::MAX) * 131_072,
        None => 0,
    };
    assert!(map.end() <= BASE + end_max);
    assert!(map.ranges().len() <= RANGES_MAX);
    assert!(!map.contains(BASE) && map.ranges().iter().all(|range| range.start > BASE));
    assert!(map.ranges().iter().all(|range| range.start < range.end));
    assert!(map.ranges().windows(2).all(|pair| pair[0].end < pair[1].start));
}

fn be(number: &[u8]) -> i64 {
    let unsigned = number.iter().fold(0_i64, |sum, &byte| sum << 8 | i64::from(byte));
    if number[0] >> 7 == 1 { unsigned - (1 << (8 * number.len())) } else { unsigned }
}
