//! Records of one partition are settled in order, whatever fails, and a failing partition holds up no other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use millrace_testkit::wait_until;

use crate::harness::{BROKEN_BELT, Depot, SOON, broken};

#[tokio::test]
async fn a_transient_failure_holds_its_partition_in_order_while_others_flow() {
    let depot = Depot::open(2).await;
    let ids = depot.ids_by_partition(2).await;
    let (stuck, free) = (ids[&0].clone(), ids[&1].clone());
    let mended = Arc::new(AtomicBool::new(false));
    let member = {
        let (mended, stuck) = (Arc::clone(&mended), stuck.clone());
        depot.member(move |seen| {
            let broken_now = !mended.load(Ordering::SeqCst)
                && seen.iter().any(|record| record.parcel == stuck && record.number == 5);
            async move { if broken_now { Err(broken(&BROKEN_BELT)) } else { Ok(()) } }
        })
    };
    for number in 1..=20 {
        depot.send(&[(&stuck, number), (&free, number)]).await;
    }
    wait_until("the free partition is done", SOON, || async {
        let numbers = depot.numbers(&free);
        if numbers.len() == 21 { Ok(()) } else { Err(numbers) }
    })
    .await;
    wait_until("the stuck partition stands before number 5", SOON, || async {
        let numbers = depot.numbers(&stuck);
        if numbers == [0, 1, 2, 3, 4] { Ok(()) } else { Err(numbers) }
    })
    .await;
    // Retries never hold up the poll loop.
    member.turned().await;
    let health = member.handle.health();
    assert!(!health.stalled, "a retry explains the standstill: {health:?}");
    mended.store(true, Ordering::SeqCst);
    wait_until("the stuck partition goes on", SOON, || async { depot.numbers(&stuck).len() == 21 })
        .await;
    assert_eq!(depot.numbers(&stuck), (0..=20).collect::<Vec<u32>>());
    assert_eq!(depot.numbers(&free), (0..=20).collect::<Vec<u32>>());
    assert_eq!(member.handle.health().dead_lettered, 0);
    member.leave().await;
}

#[tokio::test]
async fn a_batch_that_fails_is_handed_over_one_by_one() {
    let depot = Depot::open(1).await;
    let parcels: Vec<(String, u32)> = (0..50).map(|number| ("p".to_owned(), number)).collect();
    let parcels: Vec<(&str, u32)> =
        parcels.iter().map(|(id, number)| (id.as_str(), *number)).collect();
    depot.send(&parcels).await;
    let member = depot.member(|seen| async move {
        if seen.len() > 1 { Err(broken(&BROKEN_BELT)) } else { Ok(()) }
    });
    wait_until("all are done", SOON, || async { depot.done().len() == 50 }).await;
    assert_eq!(depot.numbers("p"), (0..50).collect::<Vec<u32>>());
    assert!(depot.done().iter().all(|seen| seen.batch_size == 1));
    member.leave().await;
}

#[tokio::test]
async fn records_that_wait_are_handed_over_as_a_batch() {
    let depot = Depot::open(1).await;
    let parcels: Vec<(&str, u32)> = (0..200).map(|number| ("p", number)).collect();
    depot.send(&parcels).await;
    let member = depot.member(|_| async { Ok(()) });
    wait_until("all are done", SOON, || async { depot.done().len() == 200 }).await;
    assert_eq!(depot.numbers("p"), (0..200).collect::<Vec<u32>>());
    let batches = depot.done().iter().map(|seen| seen.batch_size).max().unwrap();
    assert!(batches > 1, "the largest batch had {batches} record");
    member.leave().await;
}

#[tokio::test]
async fn a_handler_that_panics_is_tried_again() {
    let depot = Depot::open(1).await;
    let panics = Arc::new(AtomicU32::new(0));
    let member = {
        let panics = Arc::clone(&panics);
        depot.member(move |_| {
            let first = panics.fetch_add(1, Ordering::SeqCst) < 2;
            async move {
                assert!(!first, "on purpose");
                Ok(())
            }
        })
    };
    depot.send(&[("p", 1)]).await;
    wait_until("the record is done", SOON, || async { depot.numbers("p") == [1] }).await;
    assert_eq!(panics.load(Ordering::SeqCst), 3);
    assert!(depot.stack.committed_records(&depot.dead_letter_topic()).await.is_empty());
    member.leave().await;
}
