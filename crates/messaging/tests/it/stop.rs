//! What a commit and a stop promise.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use millrace_testkit::wait_until;
use tokio::sync::Semaphore;

use crate::harness::{Depot, SOON};

#[tokio::test]
async fn the_committed_offset_never_passes_an_unfinished_record() {
    let mut depot = Depot::open(1).await;
    depot.settings.batch_records_max = 1;
    depot.settings.revoke_timeout = Duration::from_millis(500);
    let parcels: Vec<(&str, u32)> = (0..10).map(|number| ("p", number)).collect();
    depot.send(&parcels).await;
    let hung = depot.member(|seen| async move {
        if seen[0].number == 4 {
            std::future::pending::<()>().await;
        }
        Ok(())
    });
    wait_until("four are committed", SOON, || async { depot.committed(0).await == Some(4) }).await;
    // Its work on number 4 is cut off, and everything behind it was never started.
    hung.leave().await;
    assert_eq!(depot.committed(0).await, Some(4));
    assert_eq!(depot.numbers("p"), [0, 1, 2, 3]);
    let next = depot.member(|_| async { Ok(()) });
    wait_until("the rest is done", SOON, || async { depot.done().len() == 10 }).await;
    assert_eq!(depot.numbers("p"), (0..10).collect::<Vec<u32>>());
    next.leave().await;
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_hand_commits_it_and_starts_nothing_more() {
    let mut depot = Depot::open(1).await;
    depot.settings.batch_records_max = 1;
    // What is in hand has as long as it takes.
    depot.settings.revoke_timeout = SOON / 2;
    let parcels: Vec<(&str, u32)> = (0..10).map(|number| ("p", number)).collect();
    depot.send(&parcels).await;
    let permits = Arc::new(Semaphore::new(3));
    let started = Arc::new(AtomicU32::new(0));
    let member = {
        let (permits, started) = (Arc::clone(&permits), Arc::clone(&started));
        depot.member(move |_| {
            let (permits, started) = (Arc::clone(&permits), Arc::clone(&started));
            async move {
                started.fetch_add(1, Ordering::SeqCst);
                permits.acquire().await.unwrap().forget();
                Ok(())
            }
        })
    };
    wait_until("the fourth is in hand", SOON, || async { started.load(Ordering::SeqCst) == 4 })
        .await;
    member.stop.cancel();
    // It has noticed the stop when the fourth goes on.
    member.turned().await;
    permits.add_permits(10);
    member.leave().await;
    assert_eq!(depot.numbers("p"), [0, 1, 2, 3]);
    assert_eq!(started.load(Ordering::SeqCst), 4);
    assert_eq!(depot.committed(0).await, Some(4));
    assert!(depot.tasks.wait(SOON).await.is_empty(), "tasks end with their consumer");
    assert!(depot.tasks.panicked().is_empty());
}

#[tokio::test]
async fn a_stop_is_bounded_when_a_handler_hangs() {
    let mut depot = Depot::open(1).await;
    depot.settings.revoke_timeout = Duration::from_secs(1);
    let hangs = Arc::new(AtomicBool::new(false));
    let member = {
        let hangs = Arc::clone(&hangs);
        depot.member(move |_| {
            hangs.store(true, Ordering::SeqCst);
            std::future::pending()
        })
    };
    depot.send(&[("p", 1)]).await;
    wait_until("the handler hangs", SOON, || async { hangs.load(Ordering::SeqCst) }).await;
    let asked = Instant::now();
    member.leave().await;
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    assert_eq!(depot.committed(0).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_consumer_whose_runtime_goes_away_leaves_its_group() {
    let depot = Depot::open(1).await;
    depot.send(&[("p", 1)]).await;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(1).build().unwrap();
    let first = runtime.block_on_member(&depot);
    wait_until("it is done", SOON, || async { depot.numbers("p") == [1] }).await;
    runtime.shutdown_background();
    wait_until("the loop ended", SOON, || async { !first.handle.health().running }).await;
    let second = depot.member(|_| async { Ok(()) });
    depot.send(&[("p", 2)]).await;
    wait_until("the next member has the partition", SOON, || async {
        depot.numbers("p") == [1, 2]
    })
    .await;
    second.leave().await;
}

trait BlockOnMember {
    fn block_on_member(&self, depot: &Depot) -> crate::harness::Member;
}

impl BlockOnMember for tokio::runtime::Runtime {
    fn block_on_member(&self, depot: &Depot) -> crate::harness::Member {
        let _inside = self.enter();
        depot.member(|_| async { Ok(()) })
    }
}
