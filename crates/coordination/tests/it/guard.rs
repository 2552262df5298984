//! Renewal while work goes on, and its end when the lease is gone.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use millrace_coordination::{LeaseLost, Leases};
use millrace_runtime::Tasks;
use millrace_testkit::{Stack, wait_until};
use tokio::time::{Instant, sleep_until, timeout};

use crate::harness::{Bench, LONG, PATIENCE};

/// Long enough that a machine that stands still for seconds doesn't miss a renewal.
const TTL: Duration = Duration::from_secs(5);
/// Where the lease is to be lost, and the sooner the better.
const SHORT: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn work_longer_than_the_lease_keeps_it_and_gives_it_back() {
    let bench = Bench::new().await;
    let tasks = Tasks::new();
    let lease = bench.leases("ann").acquire("expire", TTL).await.unwrap().unwrap();
    let first_end = lease.ends();
    let guard = lease.keep(&tasks, None);
    let others = AtomicU32::new(0);
    let worked = guard.run(async |fenced| {
        wait_until("somebody asks after the lease's first end", PATIENCE, || async {
            fenced.progress();
            let asked = Instant::now();
            let other = bench.leases("ben").acquire("expire", TTL).await.unwrap();
            others.fetch_add(u32::from(other.is_some()), Ordering::Relaxed);
            asked > first_end
        })
        .await;
    });
    assert_eq!(worked.await, Ok(()));
    assert_eq!(others.into_inner(), 0);
    guard.release().await;
    assert!(bench.leases("ben").acquire("expire", TTL).await.unwrap().is_some());
    assert!(tasks.wait(PATIENCE).await.is_empty());
}

#[tokio::test]
async fn dropping_the_guard_gives_the_lease_back() {
    let bench = Bench::new().await;
    let tasks = Tasks::new();
    let lease = bench.leases("ann").acquire("expire", LONG).await.unwrap().unwrap();
    drop(lease.keep(&tasks, None));
    wait_until("the lease is free", PATIENCE, || async {
        bench.leases("ben").acquire("expire", LONG).await.unwrap().is_some()
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_became_someone_elses_cancels_the_work() {
    let bench = Bench::new().await;
    let tasks = Tasks::new();
    let lease = bench.leases("ann").acquire("expire", SHORT).await.unwrap().unwrap();
    let guard = lease.keep(&tasks, None);
    let lost = guard.run(async |_| {
        bench.delete("lease:*").await;
        std::future::pending::<()>().await;
    });
    assert_eq!(lost.await, Err(LeaseLost { lease: "expire" }));
    assert!(guard.lost().is_cancelled());
    assert!(tasks.wait(PATIENCE).await.is_empty());
}

#[tokio::test]
async fn a_redis_that_says_nothing_cancels_the_work_before_the_lease_can_end() {
    let stack = Stack::private().await.unwrap();
    let bench = Bench::on(&stack).await;
    let tasks = Tasks::new();
    let ttl = Duration::from_secs(2);
    let leases = Leases::new(bench.impatient(), bench.app.clone(), "ann");
    let lease = wait_until("the lease is had", PATIENCE, || async {
        leases.acquire("expire", ttl).await.ok().flatten()
    })
    .await;
    let (asked, end) = (Instant::now(), lease.ends());
    let guard = lease.keep(&tasks, None);
    stack.redis().pause();
    // By the order of timers and not by a look at the clock: who stood still with the whole machine isn't late, so
    // those whose time came before the end have their turn before it is judged.
    let ended = async {
        sleep_until(end).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    let lost = tokio::select! {
        biased;
        lost = guard.run(|_| std::future::pending::<()>()) => lost,
        () = ended => panic!("the lease may have ended, and the work goes on"),
    };
    let after = asked.elapsed();
    stack.redis().resume();
    assert_eq!(lost, Err(LeaseLost { lease: "expire" }));
    assert!(after > ttl / 3, "{after:?}: it was tried more than once");
}

#[tokio::test]
async fn a_stuck_worker_loses_its_lease_though_the_renewer_is_healthy() {
    const STUCK: &str = "stuck-worker";
    let bench = Bench::new().await;
    let tasks = Tasks::new();
    let lease = bench.leases("ann").acquire(STUCK, TTL).await.unwrap().unwrap();
    // Without a renewal it would be lost before, a tenth of its time before its end.
    let guard = lease.keep(&tasks, Some(TTL));
    let asked = Instant::now();
    let lost = timeout(LONG / 2, guard.run(|_| std::future::pending::<()>())).await;
    assert_eq!(lost.expect("it is given up"), Err(LeaseLost { lease: STUCK }));
    assert!(asked.elapsed() >= TTL, "{:?}: it was renewed until then", asked.elapsed());
    let held = bench.leases("ben").acquire(STUCK, TTL).await.unwrap();
    assert!(held.is_none(), "nobody else has it before the work is gone or it has ended");
    guard.release().await;
    assert!(bench.leases("ben").acquire(STUCK, TTL).await.unwrap().is_some());
    let metrics = millrace_telemetry::metrics::render();
    let counted = metrics.lines().any(|line| {
        line.starts_with("lease_stuck_total{") && line.contains(STUCK) && line.ends_with(" 1")
    });
    assert!(counted, "{metrics}");
    assert!(tasks.wait(PATIENCE).await.is_empty());
}

#[tokio::test]
async fn transactions_count_as_progress() {
    const PROGRESS_WITHIN: Duration = Duration::from_secs(3);
    let bench = Bench::new().await;
    let tasks = Tasks::new();
    let lease = bench.leases("ann").acquire("expire", LONG).await.unwrap().unwrap();
    let guard = lease.keep(&tasks, Some(PROGRESS_WITHIN));
    let end = Instant::now() + PROGRESS_WITHIN + PROGRESS_WITHIN / 4;
    let worked = guard.run(async |fenced| {
        while Instant::now() < end {
            fenced.begin(&bench.app).await.unwrap().commit().await.unwrap();
        }
    });
    assert_eq!(worked.await, Ok(()));
    guard.release().await;
}
