//! A member that dies between two steps, at every crash point that its sink meets, and the one that comes after it.
//!
//! How many passes of a point a number of records makes depends on the machine, so the member is fed until it dies.

use std::collections::BTreeSet;
use std::ops::Range;

use futures::future::join_all;
use millrace_checker::What;
use millrace_drills::arena::{Arena, Member, Shape};
use millrace_drills::fate::Fates;
use millrace_drills::member::{Protocol, SinkKind};
use millrace_runtime::sabotage::CrashPoint;
use millrace_testkit::wait_until;

use crate::harness::{PATIENCE, arena, finish_well};

const RECORDS: usize = 200;
/// What a member that lives on is fed with.
const MORE: usize = 20;
const FED_MAX: usize = 4000;
/// Each drill dies at one of the first passes, which one is drawn from its seed.
const PASSES: u64 = 3;

/// With a tenth of dead letters, so that publishes happen with every kind of sink.
fn shape(sink: SinkKind, protocol: Protocol) -> Shape {
    let fates = Fates { permanent_per_mille: 100, work_ms: 20, ..Fates::default() };
    Shape { protocol, fates, ..Shape::new(sink) }
}

/// Feeds at least so many records, and more as soon as it has begun them, for as long as it lives; returns how many.
async fn feed_until_dead(arena: &Arena<'_>, member: &Member, records: usize) -> usize {
    arena.feed(records).await.unwrap();
    let mut fed = records;
    loop {
        wait_until("it begins what it was fed, or dies", PATIENCE, || async {
            let begun = arena.begun_by(member).unwrap();
            (begun >= fed || member.process.exited().is_some()).then_some(()).ok_or(begun)
        })
        .await;
        if member.process.exited().is_some() {
            return fed;
        }
        assert!(fed < FED_MAX, "{} lives on", member.name);
        arena.feed(MORE).await.unwrap();
        fed += MORE;
    }
}

async fn survived(shape: Shape, records: usize, point: CrashPoint) {
    let arena = arena(shape).await;
    let pass = 1 + arena.seed() % PASSES;
    let armed = format!("{}:{pass}", point.name());
    println!("seed {} dies at {armed}", arena.seed());
    let first = arena.start(&["--sabotage", &armed]).unwrap();
    let records = feed_until_dead(&arena, &first, records).await;
    arena.crashed(first, PATIENCE).await.unwrap();
    let second = arena.start(&[]).unwrap();
    let ledger = finish_well(&arena, vec![second]).await.ledger;
    assert_eq!(ledger.sent, records, "{armed}");
    assert_eq!(ledger.done + ledger.dead - ledger.both, records, "{armed}");
}

async fn all_survived(shape: Shape, records: usize, points: &[CrashPoint]) {
    join_all(points.iter().map(|point| survived(shape.clone(), records, *point))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_a_database_may_die_at_every_crash_point() {
    all_survived(shape(SinkKind::Inbox, Protocol::Classic), RECORDS, &CrashPoint::ALL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_epochs_may_die_at_every_crash_point() {
    all_survived(shape(SinkKind::Epochs, Protocol::Classic), RECORDS, &CrashPoint::ALL).await;
}

const WITHOUT_DATABASE: [CrashPoint; 5] = [
    CrashPoint::AfterHandle,
    CrashPoint::BeforePublish,
    CrashPoint::AfterPublish,
    CrashPoint::BeforeOffsetCommit,
    CrashPoint::AfterOffsetCommit,
];

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_a_database_may_die_at_every_crash_point() {
    all_survived(shape(SinkKind::Notes, Protocol::Classic), RECORDS, &WITHOUT_DATABASE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_records_all_die_may_die_at_every_step_of_their_transaction() {
    let fates = Fates { permanent_per_mille: 1000, work_ms: 20, ..Fates::default() };
    let shape = Shape { fates, ..shape(SinkKind::Notes, Protocol::Classic) };
    all_survived(shape, 60, &WITHOUT_DATABASE[1..]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_the_brokers_own_protocol_a_member_may_die_around_every_commit() {
    let points = [
        CrashPoint::AfterPublish,
        CrashPoint::AfterStateCommit,
        CrashPoint::BeforeOffsetCommit,
        CrashPoint::AfterOffsetCommit,
    ];
    all_survived(shape(SinkKind::Inbox, Protocol::Consumer), RECORDS, &points).await;
}

/// Committed are the first ten that are held, as the offset and a hole, and the 290 behind them as finished, in the
/// map's run lengths; the text is their base64.
const TEN_HELD_OF_400: (i64, &str) = (100, "ZQAAAAoAAAEi");
const HELD: Range<i64> = 100..110;

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_only_what_was_in_hand_is_repeated_of_what_was_committed() {
    // Keys of their own, so that nothing waits behind a record in hand.
    let shape = Shape { partitions: 1, keys: u64::MAX, ..Shape::new(SinkKind::Notes) };
    let arena = arena(shape).await;
    let hold = arena.hold(HELD);
    let first = arena.start_holding(&hold, &["--concurrency", "24"]).unwrap();
    arena.feed(400).await.unwrap();
    wait_until("all but what is held is committed", PATIENCE, || async {
        let committed = arena.committed_at(0).await.ok_or(None)?;
        let held = (committed.offset, committed.metadata.as_str()) == TEN_HELD_OF_400;
        if held { Ok(()) } else { Err(Some(committed)) }
    })
    .await;
    arena.kill(first).unwrap();
    let second = arena.start(&["--concurrency", "24"]).unwrap();
    let name = second.name.clone();
    assert_eq!(finish_well(&arena, vec![second]).await.ledger.done, 400);
    // As a set: a member that loses its session on a busy machine begins what it has not committed again.
    let history = arena.history().await.unwrap();
    let begun: BTreeSet<i64> = history
        .events
        .iter()
        .filter(|event| event.by == name)
        .filter_map(|event| {
            let What::Started { offset, .. } = event.what else { return None };
            Some(offset)
        })
        .collect();
    assert_eq!(begun, HELD.collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_died_before_the_conductor_killed_it_is_told_with_its_signal() {
    let arena = arena(Shape::new(SinkKind::Notes)).await;
    let member = arena.start(&[]).unwrap();
    member.process.kill_9();
    let told = arena.kill(member).unwrap_err().to_string();
    assert!(told.contains("m1 ended by itself with signal: 9 (SIGKILL)"), "{told}");
}
