//! One process at a time, by an instance id that all of them bear: who comes after one that was killed, and after one
//! that stands still.

use millrace_drills::arena::Shape;
use millrace_drills::fate::Fates;
use millrace_drills::member::{ModeKind, Protocol, SinkKind};
use millrace_testkit::wait_until;

use crate::harness::{PATIENCE, arena, finish_well};

const RECORDS: usize = 100;

fn shape(protocol: Protocol) -> Shape {
    let fates = Fates { permanent_per_mille: 50, ..Fates::default() };
    Shape { protocol, mode: ModeKind::Exclusive, fates, ..Shape::new(SinkKind::Inbox) }
}

/// Ten of each partition are done, and the next one of each is in hand: partitions are in order.
const BEGUN: usize = 22;

#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_has_the_instance_id_may_die_without_giving_it_back() {
    let arena = arena(shape(Protocol::Classic)).await;
    let hold = arena.hold_from(10);
    let first = arena.start_holding(&hold, &[]).unwrap();
    arena.feed(RECORDS).await.unwrap();
    arena.begun(Some(&first.name), BEGUN, PATIENCE).await.unwrap();
    arena.kill(first).unwrap();
    let second = arena.start(&[]).unwrap();
    let ledger = finish_well(&arena, vec![second]).await.ledger;
    assert_eq!(ledger.done + ledger.dead - ledger.both, RECORDS);
}

/// The broker lets nobody else in under the id for as long as the session of the one that has it lasts.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_refused_its_instance_id_gets_it_when_the_one_that_had_it_has_died() {
    let arena = arena(shape(Protocol::Consumer)).await;
    let hold = arena.hold_from(10);
    let first = arena.start_holding(&hold, &[]).unwrap();
    arena.feed(RECORDS).await.unwrap();
    arena.begun(Some(&first.name), BEGUN, PATIENCE).await.unwrap();
    let second = arena.start(&[]).unwrap();
    wait_until("the broker refuses the second", PATIENCE, || async {
        second.process.output().contains("UnreleasedInstanceId").then_some(())
    })
    .await;
    assert_eq!(arena.begun_by(&second).unwrap(), 0);
    arena.kill(first).unwrap();
    let ledger = finish_well(&arena, vec![second]).await.ledger;
    assert_eq!(ledger.done + ledger.dead - ledger.both, RECORDS);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_exclusive_process_that_stood_still_and_the_one_that_came_meanwhile_one_steps_back() {
    let arena = arena(shape(Protocol::Classic)).await;
    let (late, all) = (arena.hold_from(10), arena.hold_from(0));
    let first = arena.start_holding(&late, &[]).unwrap();
    arena.feed(RECORDS).await.unwrap();
    arena.begun(Some(&first.name), BEGUN, PATIENCE).await.unwrap();
    let frozen = arena.freeze(&first).await.unwrap();
    let second = arena.start_holding(&all, &[]).unwrap();
    arena.begun(Some(&second.name), 2, PATIENCE).await.unwrap();
    late.release().unwrap();
    arena.past_session(&frozen).await;
    arena.thaw(&first, frozen);
    // The first, unless its session ended before the second came: then it is the one that comes later.
    wait_until("one of them is told that it is fenced", PATIENCE, || async {
        [&first, &second].iter().any(|member| member.process.output().contains("Fenced"))
    })
    .await;
    all.release().unwrap();
    let ledger = finish_well(&arena, vec![first, second]).await.ledger;
    assert_eq!(ledger.done + ledger.dead - ledger.both, RECORDS);
    assert!(ledger.zombies >= 1);
}
