//! A member that stands still past its session and goes on as if nothing had happened.
//!
//! Both it and its successor have the same records in hand then, however slow the machine: they are held there.

use futures::future::join;
use millrace_drills::arena::Shape;
use millrace_drills::fate::Fates;
use millrace_drills::member::{Protocol, SinkKind};

use crate::harness::{PATIENCE, arena, finish_well};

const RECORDS: usize = 200;
/// Keys of a drill, and so what a member has in hand when it holds all.
const LANES: usize = 8;

fn shape(sink: SinkKind, protocol: Protocol) -> Shape {
    let fates = Fates { permanent_per_mille: 50, work_ms: 10, ..Fates::default() };
    Shape { protocol, fates, ..Shape::new(sink) }
}

/// The frozen one goes on while the other is busy with what it had in hand.
async fn survived(sink: SinkKind, protocol: Protocol) {
    let arena = arena(shape(sink, protocol)).await;
    let (late, all) = (arena.hold_from(10), arena.hold_from(0));
    let first = arena.start_holding(&late, &[]).unwrap();
    arena.feed(RECORDS).await.unwrap();
    // Ten of each partition, and what is held of each key.
    arena.begun(Some(&first.name), 20 + LANES, PATIENCE).await.unwrap();
    let frozen = arena.freeze(&first).await.unwrap();
    let second = arena.start_holding(&all, &[]).unwrap();
    arena.begun(Some(&second.name), LANES, PATIENCE).await.unwrap();
    late.release().unwrap();
    arena.past_session(&frozen).await;
    arena.thaw(&first, frozen);
    all.release().unwrap();
    let ledger = finish_well(&arena, vec![first, second]).await.ledger;
    assert_eq!(ledger.done + ledger.dead - ledger.both, RECORDS);
    assert!(ledger.zombies >= 1);
}

async fn survived_in_a_transaction(sink: SinkKind, protocol: Protocol) {
    let arena = arena(shape(sink, protocol)).await;
    let first = arena.start(&["--freeze-before-commit", "20"]).unwrap();
    arena.feed(RECORDS).await.unwrap();
    let frozen = arena.frozen(&first, PATIENCE).await.unwrap();
    let second = arena.start(&[]).unwrap();
    arena.begun(Some(&second.name), 40, PATIENCE).await.unwrap();
    arena.past_session(&frozen).await;
    arena.thaw(&first, frozen);
    let ledger = finish_well(&arena, vec![first, second]).await.ledger;
    assert_eq!(ledger.done + ledger.dead - ledger.both, RECORDS);
    assert!(ledger.zombies >= 1);
}

async fn survived_under_both_protocols(sink: SinkKind) {
    join(survived(sink, Protocol::Classic), survived(sink, Protocol::Consumer)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_a_database_may_stand_still_past_its_session() {
    survived_under_both_protocols(SinkKind::Inbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_with_epochs_may_stand_still_past_its_session() {
    survived_under_both_protocols(SinkKind::Epochs).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_a_database_may_stand_still_past_its_session() {
    survived_under_both_protocols(SinkKind::Notes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_may_stand_still_between_inbox_insert_and_commit() {
    join(
        survived_in_a_transaction(SinkKind::Inbox, Protocol::Classic),
        survived_in_a_transaction(SinkKind::Inbox, Protocol::Consumer),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_may_stand_still_between_epoch_check_and_commit() {
    join(
        survived_in_a_transaction(SinkKind::Epochs, Protocol::Classic),
        survived_in_a_transaction(SinkKind::Epochs, Protocol::Consumer),
    )
    .await;
}
