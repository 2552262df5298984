//! Single stories: the flow into a partition, floods, letters, epochs.

use super::*;

const MARKS: Marks = Marks { records_max: 10, bytes_max: 1000 };
const LANES: Portion = Portion { lanes: 1, records: 4, bytes: 1000 };

fn owned(concurrency: usize, partitions: i32) -> (Pure, Vec<Tenure>) {
    let mut schedule = Schedule::new(Limits { concurrency, portion: LANES, flood: FLOOD });
    let tracker = || OffsetTracker::new(Some(0), CompletedMap::default());
    let assign = |partition| schedule.assign(slot(partition), tracker(), false, Instant::now());
    let tenures = (0..partitions).map(assign).collect();
    (schedule, tenures)
}

/// Records in lanes of their own, from offset `from`.
fn push(schedule: &mut Pure, partition: i32, offsets: std::ops::Range<i64>) {
    let items = offsets.map(|offset| (offset as LaneId, Item::new((), offset, 1))).collect();
    schedule.push(slot(partition), items, Instant::now());
}

fn done(work: Work<()>) -> Settlement<(), ()> {
    let mut settlement = Settlement::empty(work.tenure, work.call);
    let lane = work.items[0].0;
    settlement.lanes.push(LaneEnd { lane, returned: Vec::new(), after: After::Go });
    let finished =
        work.items.iter().map(|(_, item)| Finished { offset: item.offset, bytes: item.bytes });
    settlement.finished.extend(finished);
    settlement.succeeded = true;
    settlement
}

fn failed(work: Work<()>, until: Instant) -> Settlement<(), ()> {
    let mut settlement = Settlement::empty(work.tenure, work.call);
    let lane = work.items[0].0;
    let mut returned: Vec<_> = work.items.into_iter().map(|(_, item)| item).collect();
    returned[0].failures += 1;
    settlement.failed = 1;
    settlement.lanes.push(LaneEnd { lane, returned, after: After::Wait(until) });
    settlement
}

fn dead(work: Work<()>) -> Settlement<(), ()> {
    let mut settlement = Settlement::empty(work.tenure, work.call);
    let (lane, item) = &work.items[0];
    let record = Finished { offset: item.offset, bytes: item.bytes };
    settlement.failed = 1;
    settlement.letters.push(Pending { lane: *lane, record, letter: () });
    settlement.lanes.push(LaneEnd { lane: *lane, returned: Vec::new(), after: After::Hold });
    settlement
}

fn take(schedule: &mut Pure) -> Work<()> {
    schedule.take(Instant::now()).expect("something is ready")
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

#[test]
fn the_flow_stops_at_the_mark_and_goes_on_at_half_of_it() {
    let (mut schedule, _) = owned(1, 1);
    push(&mut schedule, 0, 0..9);
    assert_eq!(schedule.flow(slot(0), MARKS), Flow::Keep);
    push(&mut schedule, 0, 9..11);
    assert_eq!(schedule.flow(slot(0), MARKS), Flow::Pause);
    for left in (6..11).rev() {
        assert_eq!(schedule.flow(slot(0), MARKS), Flow::Keep, "{left} left");
        let work = take(&mut schedule);
        schedule.settle(done(work), Instant::now());
    }
    let work = take(&mut schedule);
    schedule.settle(done(work), Instant::now());
    assert_eq!(schedule.flow(slot(0), MARKS), Flow::Resume);
    assert_eq!(schedule.flow(slot(0), MARKS), Flow::Keep);
}

#[test]
fn records_that_wait_for_a_retry_do_not_keep_the_flow_stopped_below_the_mark() {
    let (mut schedule, _) = owned(1, 1);
    push(&mut schedule, 0, 0..10);
    for _ in 0..7 {
        let work = take(&mut schedule);
        schedule.settle(done_or_failed(work), Instant::now());
    }
    assert_eq!(schedule.flow(slot(0), MARKS), Flow::Keep, "8 are left, 6 of them wait");
    push(&mut schedule, 0, 10..12);
    assert_eq!(schedule.flow(slot(0), MARKS), Flow::Pause);
    for _ in 0..3 {
        assert_eq!(schedule.flow(slot(0), MARKS), Flow::Keep);
        let work = take(&mut schedule);
        schedule.settle(done(work), Instant::now());
    }
    assert_eq!(schedule.flow(slot(0), MARKS), Flow::Resume, "half of the 4 that the 6 leave");
}

/// The first succeeds, so that no flood begins; of the next, too, each third.
fn done_or_failed(work: Work<()>) -> Settlement<(), ()> {
    if work.items[0].1.offset % 6 == 0 { done(work) } else { failed(work, later()) }
}

#[test]
fn records_at_rest_that_fill_the_mark_hold_the_flow_until_one_of_them_moves() {
    let (mut schedule, tenures) = owned(1, 1);
    push(&mut schedule, 0, 0..10);
    let mut first = None;
    for _ in 0..10 {
        let work = take(&mut schedule);
        let (lane, item) = &work.items[0];
        let record = Finished { offset: item.offset, bytes: item.bytes };
        first = first.or(Some((*lane, record)));
        schedule.settle(dead(work), Instant::now());
    }
    assert_eq!(schedule.flow(slot(0), MARKS), Flow::Pause);
    assert_eq!(schedule.flow(slot(0), MARKS), Flow::Keep);
    assert_eq!(schedule.take_letters(10).len(), 1);
    schedule.letters_published(tenures[0], &[first.unwrap()], Instant::now());
    assert_eq!(schedule.flow(slot(0), MARKS), Flow::Resume);
}

#[test]
fn a_pause_stops_the_flow_and_hands_nothing_over() {
    let (mut schedule, _) = owned(1, 1);
    push(&mut schedule, 0, 0..1);
    schedule.set_paused(true, Instant::now());
    assert_eq!(schedule.flow(slot(0), MARKS), Flow::Pause);
    assert_eq!(schedule.flow(slot(0), MARKS), Flow::Keep);
    assert!(schedule.take(Instant::now()).is_none() && schedule.ready() == 0);
    schedule.set_paused(false, Instant::now());
    assert_eq!(schedule.flow(slot(0), MARKS), Flow::Resume);
    take(&mut schedule);
}

#[test]
fn an_assignment_that_follows_another_at_once_knows_that_the_flow_is_stopped() {
    let (mut schedule, _) = owned(1, 1);
    push(&mut schedule, 0, 0..10);
    assert_eq!(schedule.flow(slot(0), MARKS), Flow::Pause);
    let tracker = OffsetTracker::new(Some(0), CompletedMap::default());
    schedule.assign(slot(0), tracker, false, Instant::now());
    assert_eq!(schedule.flow(slot(0), MARKS), Flow::Resume);
}

#[test]
fn holes_of_keys_in_long_retries_slow_intake_down_and_never_stop_it() {
    let marks = Marks { records_max: 100_000, bytes_max: usize::MAX };
    let (mut schedule, _) = owned(1, 1);
    // Chance decides who fails, so that the map of it doesn't compress.
    let mut drawn = 1_u64;
    let mut fails = || {
        drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        drawn >> 62 == 0
    };
    let (mut pauses, mut next) = (0, 0);
    let mut stopped = false;
    for _ in 0..100 {
        if !stopped {
            push(&mut schedule, 0, next..next + 1000);
            next += 1000;
        }
        for part in 0..2 {
            match schedule.flow(slot(0), marks) {
                Flow::Pause => (stopped, pauses) = (true, pauses + 1),
                Flow::Resume => stopped = false,
                Flow::Keep => {}
            }
            while part == 0
                && let Some(work) = schedule.take(Instant::now())
            {
                let settlement = if fails() { failed(work, later()) } else { done(work) };
                schedule.settle(settlement, Instant::now());
            }
        }
    }
    assert!(pauses > 10, "a full map is seen: {pauses}");
    assert!(next >= 90_000, "every drained turn lets another one in: {next}");
}

#[test]
fn a_flood_tries_one_record_at_a_time_until_one_succeeds_wherever_it_comes_from() {
    let (mut schedule, _) = owned(8, 2);
    push(&mut schedule, 0, 0..20);
    let works: Vec<_> = (0..FLOOD).map(|_| take(&mut schedule)).collect();
    assert!(schedule.ready() > 0);
    for work in works {
        schedule.settle(failed(work, later()), Instant::now());
    }
    let trial = take(&mut schedule);
    assert_eq!((trial.items.len(), schedule.ready()), (1, 0));
    assert!(schedule.take(Instant::now()).is_none(), "one at a time");
    schedule.settle(dead(trial), Instant::now());
    // The other partition has its turn although the first one has work left.
    push(&mut schedule, 1, 0..1);
    let trials = [take(&mut schedule)];
    for trial in trials {
        schedule.settle(failed(trial, later()), Instant::now());
    }
    let trial = take(&mut schedule);
    assert_eq!(trial.tenure.slot, slot(1));
    schedule.settle(done(trial), Instant::now());
    assert!(schedule.ready() > 1);
    let _both = (take(&mut schedule), take(&mut schedule));
}

#[test]
fn a_call_of_an_assignment_that_is_over_counts_for_no_other() {
    let (mut schedule, _) = owned(1, 1);
    push(&mut schedule, 0, 0..1);
    let old = take(&mut schedule);
    let tracker = OffsetTracker::new(Some(0), CompletedMap::default());
    let tenure = schedule.assign(slot(0), tracker, false, Instant::now());
    assert!(old.abandon.is_cancelled() && old.finish.is_cancelled());
    push(&mut schedule, 0, 0..1);
    let new = take(&mut schedule);
    schedule.settle(done(old), Instant::now());
    let view = schedule.view(slot(0)).unwrap();
    assert_eq!((view.position, view.calls, schedule.calls), (Some(0), 1, 1));
    assert_eq!(new.tenure, tenure);
    schedule.settle(done(new), Instant::now());
    assert_eq!((schedule.view(slot(0)).unwrap().position, schedule.calls), (Some(1), 0));
}

#[test]
fn a_lane_that_does_not_fit_into_a_batch_keeps_its_place_and_is_next() {
    let portion = Portion { lanes: usize::MAX, records: 2, bytes: 100 };
    let mut schedule: Pure = Schedule::new(Limits { concurrency: 100, portion, flood: FLOOD });
    let tracker = OffsetTracker::new(Some(0), CompletedMap::default());
    schedule.assign(slot(0), tracker, false, Instant::now());
    let sizes = [1, 100, 1, 1, 1, 1];
    let items = (0_i64..)
        .zip(sizes)
        .map(|(offset, bytes)| (offset as LaneId, Item::new((), offset, bytes)));
    schedule.push(slot(0), items.collect(), Instant::now());
    let mut taken =
        || take(&mut schedule).items.iter().map(|(_, item)| item.offset).collect::<Vec<_>>();
    assert_eq!([taken(), taken(), taken()], [vec![0, 2], vec![1], vec![3, 4]]);
}

#[test]
fn letters_of_one_partition_do_not_hold_up_those_of_the_others() {
    let (mut schedule, tenures) = owned(1, 3);
    for partition in 0..3 {
        push(&mut schedule, partition, 0..4);
    }
    for _ in 0..12 {
        let work = take(&mut schedule);
        schedule.settle(dead(work), Instant::now());
    }
    let mut turns = Vec::new();
    for _ in 0..4 {
        for (tenure, letters) in schedule.take_letters(3) {
            turns.push((tenure.slot.partition, letters.len()));
            if tenure.slot.partition == 0 {
                schedule.return_letters(tenures[0], letters);
            }
        }
    }
    assert_eq!(turns, [(0, 3), (1, 3), (2, 3), (0, 3)]);
}

#[test]
fn a_refused_epoch_closes_its_partition_until_another_one_is_there() {
    let (mut schedule, tenures) = owned(2, 1);
    schedule.open(tenures[0], 8);
    push(&mut schedule, 0, 0..3);
    let mut refused = failed(take(&mut schedule), Instant::now());
    refused.stale_epoch = true;
    schedule.settle(refused, Instant::now());
    assert!(schedule.take(later()).is_none());
    assert_eq!(
        (schedule.ready(), schedule.take_stale(), schedule.take_stale()),
        (0, tenures.clone(), vec![])
    );
    schedule.open(tenures[0], 9);
    assert_eq!(take(&mut schedule).epoch, Some(9));
}

#[test]
fn a_call_under_an_older_epoch_that_is_refused_says_nothing_about_the_present_one() {
    let (mut schedule, tenures) = owned(3, 1);
    schedule.open(tenures[0], 8);
    push(&mut schedule, 0, 0..4);
    let refused = [(); 2].map(|()| {
        let mut refused = failed(take(&mut schedule), later());
        refused.stale_epoch = true;
        refused
    });
    let [first, late] = refused;
    schedule.settle(first, Instant::now());
    assert_eq!(schedule.take_stale(), tenures);
    schedule.open(tenures[0], 9);
    schedule.settle(late, Instant::now());
    assert_eq!((take(&mut schedule).epoch, schedule.take_stale()), (Some(9), vec![]));
}

#[test]
fn a_refused_epoch_closes_no_partition_for_which_none_can_be_drawn() {
    let (mut schedule, _) = owned(2, 1);
    push(&mut schedule, 0, 0..2);
    let mut refused = failed(take(&mut schedule), Instant::now());
    refused.stale_epoch = true;
    schedule.settle(refused, Instant::now());
    assert_eq!((take(&mut schedule).epoch, schedule.take_stale()), (None, vec![]));
}

#[test]
fn a_pause_that_is_over_is_no_stall_however_long_it_was() {
    let (limit, start) = (Duration::from_secs(60), Instant::now());
    let (mut schedule, _) = owned(1, 1);
    push(&mut schedule, 0, 0..2);
    schedule.set_paused(true, start);
    let end = start + Duration::from_secs(3600);
    assert_eq!(schedule.stalled(slot(0), limit, end), None);
    schedule.set_paused(false, end);
    assert_eq!(schedule.stalled(slot(0), limit, end), None, "no runner can have looked yet");
    // Told once more that it isn't paused, it has not moved by that.
    schedule.set_paused(false, end + limit);
    assert!(schedule.stalled(slot(0), limit, end + limit).is_some());
}

#[test]
fn with_a_map_that_is_as_good_as_full_nothing_is_begun_above_a_call_that_others_have_overtaken() {
    let (mut schedule, _) = owned(3, 1);
    push(&mut schedule, 0, 0..24_000);
    while let Some(work) = schedule.take(Instant::now()) {
        let holds = work.items[0].1.offset % 4 == 3;
        let settlement = if holds { failed(work, later()) } else { done(work) };
        schedule.settle(settlement, Instant::now());
    }
    let view = schedule.view(slot(0)).unwrap();
    assert_eq!((view.records, view.calls), (6000, 0), "holes enough to fill a map, all at rest");
    push(&mut schedule, 0, 24_000..24_010);
    let (low, middle, high) = (take(&mut schedule), take(&mut schedule), take(&mut schedule));
    schedule.settle(done(low), Instant::now());
    let next = take(&mut schedule);
    assert_eq!(next.items[0].1.offset, 24_003, "nobody was overtaken");
    schedule.settle(done(high), Instant::now());
    assert!(schedule.take(Instant::now()).is_none() && schedule.ready() == 0);
    assert_eq!(schedule.stalled(slot(0), Duration::from_secs(60), Instant::now()), None);
    schedule.settle(done(next), Instant::now());
    assert!(schedule.take(Instant::now()).is_none(), "one still is");
    schedule.settle(done(middle), Instant::now());
    assert_eq!(take(&mut schedule).items[0].1.offset, 24_004);
}
