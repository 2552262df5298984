//! What an operator changes while a consumer runs, without a rebalance.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millrace_testkit::wait_until;
use tokio::sync::Semaphore;

use crate::harness::{Depot, Member, SOON, assert_no_stall, told};

async fn wait_owned(member: &Member, count: usize) {
    wait_until("it owns its share", SOON, || async {
        if member.handle.health().partition_count == count {
            Ok(())
        } else {
            Err(member.handle.health())
        }
    })
    .await;
}

/// What is committed of each partition, and where it ends.
async fn places(depot: &Depot) -> Vec<(Option<i64>, i64)> {
    let mut places = Vec::new();
    for partition in 0..4 {
        let end = depot.stack.access().log_end(&depot.topic(), partition).await.unwrap();
        places.push((depot.committed(partition).await, end));
    }
    places
}

async fn send_keys(depot: &Depot, count: u32) {
    let parcels: Vec<String> = (0..count).map(|id| format!("p{id}")).collect();
    let parcels: Vec<(&str, u32)> = parcels.iter().map(|id| (id.as_str(), 0)).collect();
    depot.send(&parcels).await;
}

#[tokio::test]
async fn concurrency_changes_up_and_down_without_a_rebalance() {
    let mut depot = Depot::open(2).await;
    depot.settings.batch_records_max = 1;
    depot.settings.concurrency = 4;
    let (open, permits) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let member = {
        let (open, permits) = (Arc::clone(&open), Arc::clone(&permits));
        depot.member(move |_| {
            let (open, permits) = (Arc::clone(&open), Arc::clone(&permits));
            async move {
                open.fetch_add(1, Ordering::SeqCst);
                permits.acquire().await.unwrap().forget();
                open.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        })
    };
    wait_owned(&member, 2).await;
    let mut events = member.handle.events();
    send_keys(&depot, 200).await;
    let opens = |count: usize| {
        let open = &open;
        wait_until("so many are open", SOON, move || async move {
            let now = open.load(Ordering::SeqCst);
            if now == count { Ok(()) } else { Err(now) }
        })
    };
    opens(4).await;
    assert_eq!(member.handle.concurrency(), 4);
    member.handle.set_concurrency(50);
    opens(50).await;
    member.handle.set_concurrency(3);
    // Fifty come back, and only three follow them.
    permits.add_permits(50);
    wait_until("fifty are done", SOON, || async { depot.done().len() == 50 }).await;
    opens(3).await;
    permits.add_permits(20);
    wait_until("twenty more are done", SOON, || async { depot.done().len() == 70 }).await;
    opens(3).await;
    assert_eq!(member.handle.concurrency(), 3);
    member.handle.set_concurrency(1);
    permits.add_permits(1000);
    wait_until("all are done", SOON, || async { depot.done().len() == 200 }).await;
    assert_eq!(told(&mut events), []);
    member.leave().await;
}

#[tokio::test]
async fn a_pause_hands_nothing_over_also_after_a_rebalance_and_is_no_stall() {
    let mut depot = Depot::open(4).await;
    depot.settings.stall_limit = Duration::from_secs(3);
    let first = depot.member(|_| async { Ok(()) });
    wait_owned(&first, 4).await;
    let ids: Vec<String> = depot.ids_by_partition(4).await.into_values().collect();
    let mut before = 0;
    for partition in 0..4 {
        let end = depot.stack.access().log_end(&depot.topic(), partition).await.unwrap();
        before += usize::try_from(end).unwrap();
    }
    wait_until("it has caught up", SOON, || async { depot.done().len() == before }).await;
    first.handle.pause();
    assert!(first.handle.paused());
    let parcels: Vec<(&str, u32)> = ids.iter().map(|id| (id.as_str(), 1)).collect();
    depot.send(&parcels).await;
    wait_until("the lag tells of what waits", SOON, || async {
        let lag = first.handle.health().lag;
        if lag == 4 { Ok(()) } else { Err((lag, places(&depot).await)) }
    })
    .await;
    assert_eq!(depot.done().len(), before);

    // The second one works and takes half; what the first has left, and what comes back to it, stays paused.
    let second = depot.member(|_| async { Ok(()) });
    wait_owned(&second, 2).await;
    wait_owned(&first, 2).await;
    wait_until("the second does its half", SOON, || async { depot.done().len() == before + 2 })
        .await;
    second.leave().await;
    wait_owned(&first, 4).await;
    let parcels: Vec<(&str, u32)> = ids.iter().map(|id| (id.as_str(), 2)).collect();
    depot.send(&parcels).await;
    wait_until("all of it waits", SOON, || async {
        let lag = first.handle.health().lag;
        if lag == 6 { Ok(()) } else { Err((lag, places(&depot).await)) }
    })
    .await;
    let (mut events, paused) = (first.handle.events(), std::time::Instant::now());
    wait_until("longer than the limit of a stall", SOON, || async {
        paused.elapsed() > Duration::from_secs(4)
    })
    .await;
    first.turned().await;
    assert_no_stall(&mut events);
    assert_eq!(depot.done().len(), before + 2);
    first.handle.resume();
    wait_until("all is done", SOON, || async { depot.done().len() == before + 8 }).await;
    for id in &ids {
        assert_eq!(depot.numbers(id).iter().filter(|number| **number > 0).count(), 2, "{id}");
    }
    wait_until("nothing is left", SOON, || async { first.handle.health().lag == 0 }).await;
    assert_eq!(told(&mut events), []);
    first.leave().await;
}

#[tokio::test]
async fn a_pause_lets_what_is_in_hand_finish() {
    let mut depot = Depot::open(1).await;
    depot.settings.batch_records_max = 1;
    let (open, permits) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let member = {
        let (open, permits) = (Arc::clone(&open), Arc::clone(&permits));
        depot.member(move |_| {
            let (open, permits) = (Arc::clone(&open), Arc::clone(&permits));
            async move {
                open.fetch_add(1, Ordering::SeqCst);
                permits.acquire().await.unwrap().forget();
                Ok(())
            }
        })
    };
    depot.send(&[("p", 0), ("p", 1), ("p", 2)]).await;
    wait_until("one is in hand", SOON, || async { open.load(Ordering::SeqCst) == 1 }).await;
    member.handle.pause();
    permits.add_permits(10);
    // The first of a key is done and committed. Those behind it were not handed over, or were in the same portion.
    wait_until("it is committed", SOON, || async { depot.committed(0).await >= Some(1) }).await;
    let done = depot.done().len();
    member.handle.resume();
    wait_until("the rest follows", SOON, || async { depot.numbers("p") == [0, 1, 2] }).await;
    assert!(done >= 1);
    member.leave().await;
}
