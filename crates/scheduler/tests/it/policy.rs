//! The overlap policies and catch-up windows as tables, and what must hold whatever happens.
use chrono::{DateTime, Utc};
use millrace_scheduler::calendar::{Interval, Recurrence};
use millrace_scheduler::policy::{Decision, Open, Overlap, Rules, Stage, Step, decide};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(second, 0).unwrap()
}
fn every(seconds: u64) -> Recurrence {
    Recurrence::Every(Interval::try_new(Duration::from_secs(seconds), at(0)).unwrap())
}

fn rules(recurrence: &Recurrence, overlap: Overlap) -> Rules<'_> {
    Rules {
        task: "t",
        recurrence,
        overlap,
        catch_up: Duration::from_secs(60),
        jitter: Duration::ZERO,
        paused: false,
    }
}
fn active(second: i64) -> Open {
    Open {
        instant: at(second),
        fire_at: at(second),
        stage: Stage::Active { cancelling: false, until: at(1_000_000) },
        overlap: None,
    }
}
fn waiting(second: i64) -> Open {
    Open { instant: at(second), fire_at: at(second), stage: Stage::Waiting, overlap: None }
}
fn told(steps: &[Step]) -> String {
    let text = |step: &Step| match step {
        Step::Create { .. } => String::new(),
        Step::Missed { from, to, count } => {
            format!("missed {}..{} {count:?}", from.timestamp(), to.timestamp())
        }
        Step::Dispatch(i) => format!("dispatch {}", i.timestamp()),
        Step::Skip(i, r) => format!("skip {} {r:?}", i.timestamp()),
        Step::Cancel(i) => format!("cancel {}", i.timestamp()),
        Step::Terminate(i) => format!("terminate {}", i.timestamp()),
        Step::TimeOut(i) => format!("time out {}", i.timestamp()),
    };
    steps.iter().map(text).filter(|t| !t.is_empty()).collect::<Vec<_>>().join(", ")
}

#[test]
fn each_policy_says_what_becomes_of_two_that_are_due_beside_one_that_is_open() {
    use Overlap::*;
    let table = [
        (Skip, "skip 10 Overlap, skip 20 Overlap", "dispatch 10, skip 20 Overlap"),
        (BufferOne, "skip 20 Overlap", "dispatch 10"),
        (BufferAll, "", "dispatch 10"),
        (CancelOther, "skip 10 Superseded, cancel 5", "skip 10 Superseded, dispatch 20"),
        (
            TerminateOther,
            "skip 10 Superseded, terminate 5, dispatch 20",
            "skip 10 Superseded, dispatch 20",
        ),
        (AllowAll, "dispatch 10, dispatch 20", "dispatch 10, dispatch 20"),
    ];
    for (overlap, with, without) in table {
        let recurrence = every(10);
        let rules = rules(&recurrence, overlap);
        let look = |open: &[Open]| decide(&rules, at(20), Some(at(10)), open);
        assert_eq!(told(&look(&[active(5)]).steps), with, "{overlap:?}");
        assert_eq!(told(&look(&[]).steps), without, "{overlap:?}");
        assert_eq!(look(&[]).next, Some(at(30)));
    }
}

#[test]
fn a_catch_up_window_parts_the_late_from_the_missed() {
    let late = |from: i64| {
        let dispatched = (from..=100).step_by(10).map(|at| format!("dispatch {at}"));
        dispatched.collect::<Vec<_>>().join(", ")
    };
    let table = [
        (10, format!("missed 10..90 Some(9), {}", late(100))),
        // An instant at the window's edge is late, not missed.
        (45, format!("missed 10..50 Some(5), {}", late(60))),
        (44, format!("missed 10..60 Some(6), {}", late(70))),
        (90, format!("missed 10..10 Some(1), {}", late(20))),
        (95, late(10)),
        (1_000_000, late(10)),
    ];
    for (window, expected) in table {
        let recurrence = every(10);
        let rules = rules(&recurrence, Overlap::AllowAll);
        let rules = Rules { catch_up: Duration::from_secs(window), ..rules };
        let Decision { steps, next, .. } = decide(&rules, at(105), Some(at(10)), &[]);
        assert_eq!(told(&steps), expected, "window {window}");
        assert_eq!(next, Some(at(110)));
    }
}

#[test]
fn an_instant_that_is_an_occurrence_already_is_not_created_again() {
    let recurrence = every(10);
    let rules = rules(&recurrence, Overlap::AllowAll);
    let look = decide(&rules, at(20), Some(at(10)), &[active(10)]);
    assert_eq!(told(&look.steps), "dispatch 20");
    assert_eq!(look.next, Some(at(30)));
}

#[test]
fn a_paused_task_begins_nothing_and_still_tries_again_what_was_begun() {
    let recurrence = every(10);
    let rules = Rules { paused: true, ..rules(&recurrence, Overlap::BufferAll) };
    let failed = Open { stage: Stage::BetweenAttempts, ..waiting(5) };
    let look = decide(&rules, at(20), Some(at(10)), &[failed, waiting(8)]);
    assert_eq!(told(&look.steps), "dispatch 5");
    assert_eq!(look.next, None);
}

proptest! {
    /// A random life: looks come late or early, occurrences end, fail or hang.
    #[test]
    fn every_instant_is_decided_once_and_places_are_never_shared(
        overlap in prop_oneof![Just(Overlap::Skip), Just(Overlap::BufferOne), Just(Overlap::BufferAll), Just(Overlap::CancelOther), Just(Overlap::TerminateOther), Just(Overlap::AllowAll)],
        jitter in 0u64..30,
        events in prop::collection::vec((0i64..40, 0u8..6), 1..80),
    ) {
        let recurrence = every(10);
        let rules = Rules { catch_up: Duration::from_secs(100), jitter: Duration::from_secs(jitter), ..rules(&recurrence, overlap) };
        let (mut now, mut next) = (0, Some(at(10)));
        let mut open: BTreeMap<DateTime<Utc>, Open> = BTreeMap::new();
        let mut created = BTreeSet::new();
        let mut missed = 0;
        for (pass, event) in events {
            now += pass;
            if let Some(first) = open.values().find(|o| matches!(o.stage, Stage::Active { .. })).copied() {
                let cancelled = matches!(first.stage, Stage::Active { cancelling: true, .. });
                match event {
                    0 | 1 => { open.remove(&first.instant); }
                    2 if !cancelled => { open.get_mut(&first.instant).unwrap().stage = Stage::BetweenAttempts; open.get_mut(&first.instant).unwrap().fire_at = at(now + 5); }
                    _ => {}
                }
            }
            let list: Vec<_> = open.values().copied().collect();
            let look = decide(&rules, at(now), next, &list);
            for step in &look.steps {
                match *step {
                    Step::Create { instant, fire_at } => { prop_assert!(created.insert(instant)); prop_assert!(fire_at >= instant); open.insert(instant, Open { instant, fire_at, stage: Stage::Waiting, overlap: None }); }
                    Step::Missed { count, .. } => missed += count.unwrap(),
                    Step::Dispatch(i) => { let o = open.get_mut(&i).unwrap(); let active = matches!(o.stage, Stage::Active { .. }); prop_assert!(!active); prop_assert!(o.fire_at <= at(now)); o.stage = Stage::Active { cancelling: false, until: at(now + 60) }; }
                    Step::Skip(i, _) => { prop_assert_eq!(open.remove(&i).unwrap().stage, Stage::Waiting); }
                    Step::Cancel(i) => { let o = open.get_mut(&i).unwrap(); if let Stage::Active { until, cancelling } = o.stage { prop_assert!(!cancelling); o.stage = Stage::Active { cancelling: true, until } } else { open.remove(&i); } }
                    Step::Terminate(i) => { open.remove(&i).unwrap(); }
                    Step::TimeOut(i) => { open.remove(&i).unwrap(); }
                }
            }
            next = look.next;
            prop_assert!(next.unwrap() > at(now));
            prop_assert_eq!(created.len() + missed, usize::try_from(next.unwrap().timestamp() / 10 - 1).unwrap());
            let holding = open.values().filter(|o| !matches!(o.stage, Stage::Waiting)).count();
            if overlap != Overlap::AllowAll { prop_assert!(holding <= 1, "{holding} hold a place"); }
            // Nothing is forgotten: a waiting one has a look that comes for it.
            if open.values().any(|o| matches!(o.stage, Stage::Waiting | Stage::BetweenAttempts)) || !open.is_empty() { prop_assert!(look.look_at.is_some()); }
            prop_assert!(look.look_at.unwrap() <= next.unwrap());
        }
    }
}
