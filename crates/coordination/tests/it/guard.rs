//! Renewal while work goes on, and its end when the lease is gone.

use std::time::Duration;

use millrace_coordination::LeaseLost;
use millrace_runtime::Tasks;
use millrace_testkit::{Stack, wait_until};
use tokio::time::Instant;

use crate::harness::{Bench, PATIENCE};

/// Long enough that a busy machine doesn't miss a renewal.
const TTL: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn work_longer_than_the_lease_keeps_it_and_gives_it_back() {
    let bench = Bench::new().await;
    let tasks = Tasks::new();
    let lease = bench.leases("ann").acquire("expire", TTL).await.unwrap().unwrap();
    let first_end = lease.ends();
    let guard = lease.keep(&tasks, None);
    let others = guard.run(async |fenced| {
        let mut others = 0;
        while Instant::now() < first_end + TTL {
            fenced.progress();
            others +=
                usize::from(bench.leases("ben").acquire("expire", TTL).await.unwrap().is_some());
        }
        others
    });
    assert_eq!(others.await, Ok(0));
    guard.release().await;
    assert!(bench.leases("ben").acquire("expire", TTL).await.unwrap().is_some());
    assert!(tasks.wait(PATIENCE).await.is_empty());
}

#[tokio::test]
async fn dropping_the_guard_gives_the_lease_back() {
    let bench = Bench::new().await;
    let tasks = Tasks::new();
    let long = Duration::from_secs(30);
    let lease = bench.leases("ann").acquire("expire", long).await.unwrap().unwrap();
    drop(lease.keep(&tasks, None));
    wait_until("the lease is free", PATIENCE, || async {
        bench.leases("ben").acquire("expire", long).await.unwrap().is_some()
    })
    .await;
}

#[tokio::test]
async fn a_lease_that_became_someone_elses_cancels_the_work() {
    let bench = Bench::new().await;
    let tasks = Tasks::new();
    let lease = bench.leases("ann").acquire("expire", TTL).await.unwrap().unwrap();
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
    let lease = bench.leases("ann").acquire("expire", ttl).await.unwrap().unwrap();
    let asked = Instant::now();
    let guard = lease.keep(&tasks, None);
    stack.redis().pause();
    let lost = guard.run(|_| std::future::pending::<()>()).await;
    let after = asked.elapsed();
    stack.redis().resume();
    assert_eq!(lost, Err(LeaseLost { lease: "expire" }));
    assert!(after < ttl, "{after:?}");
    assert!(after > ttl / 3, "{after:?}: it was tried more than once");
}

#[tokio::test]
async fn a_stuck_worker_loses_its_lease_though_the_renewer_is_healthy() {
    const STUCK: &str = "stuck-worker";
    let bench = Bench::new().await;
    let tasks = Tasks::new();
    let lease = bench.leases("ann").acquire(STUCK, TTL).await.unwrap().unwrap();
    let guard = lease.keep(&tasks, Some(TTL * 2));
    let asked = Instant::now();
    let lost = guard.run(|_| std::future::pending::<()>()).await;
    assert_eq!(lost, Err(LeaseLost { lease: STUCK }));
    assert!(asked.elapsed() >= TTL * 2, "{:?}: it was renewed until then", asked.elapsed());
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
    let bench = Bench::new().await;
    let tasks = Tasks::new();
    let lease = bench.leases("ann").acquire("expire", TTL).await.unwrap().unwrap();
    let guard = lease.keep(&tasks, Some(TTL / 2));
    let end = Instant::now() + TTL * 2;
    let worked = guard.run(async |fenced| {
        while Instant::now() < end {
            fenced.begin(&bench.app).await.unwrap().commit().await.unwrap();
        }
    });
    assert_eq!(worked.await, Ok(()));
    guard.release().await;
}
