//! A member that dies between two steps, at every crash point that its sink meets, and the one that comes after it.

use std::time::Duration;

use futures::future::join_all;
use millrace_drills::arena::Shape;
use millrace_drills::fate::Fates;
use millrace_drills::member::{Protocol, SinkKind};
use millrace_runtime::sabotage::CrashPoint;

use crate::harness::{PATIENCE, arena, finish_well};

const RECORDS: usize = 200;
/// Each drill dies at one of the first passes, which one is drawn from its seed.
const PASSES: u64 = 3;

/// With a tenth of dead letters, so that publishes happen with every kind of sink.
fn shape(sink: SinkKind, protocol: Protocol) -> Shape {
    let fates = Fates { permanent_per_mille: 100, work_ms: 20, ..Fates::default() };
    Shape { protocol, fates, ..Shape::new(sink) }
}

async fn survived(shape: Shape, records: usize, point: CrashPoint) {
    let arena = arena(shape).await;
    let pass = 1 + arena.seed() % PASSES;
    let armed = format!("{}:{pass}", point.name());
    println!("seed {} dies at {armed}", arena.seed());
    let first = arena.start(&["--sabotage", &armed]).unwrap();
    arena.feed(records).await.unwrap();
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

/// Nothing keeps the first member from committing: it is alone, nothing dies, and the broker is well.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_only_the_holes_and_the_last_second_are_repeated() {
    let fates = Fates { slow_per_mille: 20, slow_ms: 1500, work_ms: 30, ..Fates::default() };
    let replay_window = Some(Duration::from_secs(1));
    let shape = Shape { fates, replay_window, keys: 24, ..Shape::new(SinkKind::Notes) };
    let arena = arena(shape).await;
    let first = arena.start(&["--concurrency", "24"]).unwrap();
    arena.feed(1600).await.unwrap();
    arena.begun(Some(&first.name), 1000, PATIENCE).await.unwrap();
    arena.kill(first);
    let second = arena.start(&["--concurrency", "24"]).unwrap();
    let ledger = finish_well(&arena, vec![second]).await.ledger;
    assert_eq!(ledger.done, 1600);
}
