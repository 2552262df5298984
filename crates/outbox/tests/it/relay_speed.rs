//! One busy aggregate, wake-ups between processes, and an outage in the middle of a run.

use std::time::{Duration, Instant};

use millrace_outbox::RelayNotifier;
use millrace_runtime::{CancellationToken, Tasks};
use millrace_testkit::{Stack, TopicSpec, wait_until};

use crate::harness::{Bench, PATIENCE, assert_in_order, kafka_settings, relay, step};

const BUSY: &str = "busy";

#[tokio::test]
async fn one_busy_aggregate_is_not_bounded_by_the_brokers_round_trip() {
    const STEPS: u32 = 4000;
    let bench = Bench::new().await;
    let records: Vec<_> = (1..=STEPS).map(|number| step(BUSY, number)).collect();
    bench.append(&records).await;
    let kafka = kafka_settings(&bench.stack.brokers(), &bench.namespace, &[("LINGER", "20ms")]);
    let started = Instant::now();
    assert_eq!(relay(&bench.app, &kafka, &[]).relay_once().await.unwrap(), STEPS as usize);
    let took = started.elapsed();
    // One at a time takes at least the client's linger for each: eighty seconds.
    assert!(took < Duration::from_secs(30), "{took:?}");
    let published = bench.published().await;
    assert_in_order(&published, &[BUSY.to_owned()], STEPS);
    assert_eq!(published.len(), STEPS as usize, "nothing is repeated");
}

#[tokio::test]
async fn a_process_without_a_relay_wakes_anothers() {
    let bench = Bench::new().await;
    let running = bench.relay(&[("POLL_INTERVAL", "60s")]);
    let health = running.health();
    let notifier = RelayNotifier::new(&bench.app, "walks");
    let waker = notifier.waker();
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    tasks.spawn("relay", running.run(stop.clone()));
    tasks.spawn("notifier", notifier.run(stop.clone()));
    wait_until("the relay waits and listens", PATIENCE, || async {
        health.status().last_pass.is_some() && bench.sessions("query ilike 'listen%'").await == 1
    })
    .await;
    for number in 1..=20 {
        bench.append(&[step(BUSY, number)]).await;
        waker.wake();
    }
    bench.drained().await;
    stop.cancel();
    assert!(tasks.wait(PATIENCE).await.is_empty());
    assert_in_order(&bench.published().await, &[BUSY.to_owned()], 20);
}

/// Hundreds of rows of one aggregate are with the client when the broker goes.
#[tokio::test]
async fn a_broker_that_goes_in_the_middle_of_a_run_turns_no_rows_around() {
    const STEPS: u32 = 6000;
    let stack = Stack::private().await.unwrap();
    let namespace = stack.namespace();
    let database = stack.database("walks", &[&millrace_outbox::MIGRATIONS]).await;
    let _topics = stack.topics(&namespace, &[TopicSpec::new("walk-events", 2)]).await;
    let pool = database.app_pool();
    let left = async || -> i64 {
        sqlx::query_scalar("select count(*) from outbox").fetch_one(&pool).await.unwrap_or(-1)
    };
    for from in (1..=STEPS).step_by(500) {
        let records: Vec<_> = (from..from + 500).map(|number| step(BUSY, number)).collect();
        let mut conn = pool.acquire().await.unwrap();
        millrace_outbox::append(&mut conn, &records).await.unwrap();
    }
    let kafka = kafka_settings(&stack.brokers(), &namespace, &[("PUBLISH_TIMEOUT", "1s")]);
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    tasks.spawn("relay", relay(&pool, &kafka, &[("BUCKET_BATCH_MAX", "16")]).run(stop.clone()));
    wait_until("some rows are gone", PATIENCE, || async { left().await < i64::from(STEPS) }).await;
    // At once: a broker that may end in the orderly way takes the rest of the rows meanwhile.
    stack.kafka().kill();
    let before = left().await;
    assert!(before > 0, "the broker went too late");
    stack.kafka().start().await.unwrap();
    wait_until("the outbox is empty", Duration::from_secs(20), || async { left().await == 0 })
        .await;
    stop.cancel();
    assert!(tasks.wait(PATIENCE).await.is_empty());
    let records = stack.records(&namespace.topic("walk-events")).await;
    assert_in_order(&records, &[BUSY.to_owned()], STEPS);
}

/// Its rows are with the client, its claims are gone, and it starts over beside what it still had on the wire.
#[tokio::test]
async fn a_relay_that_loses_its_session_again_and_again_turns_no_rows_around() {
    const STEPS: u32 = 6000;
    let bench = Bench::new().await;
    for from in (1..=STEPS).step_by(500) {
        let records: Vec<_> = (from..from + 500).map(|number| step(BUSY, number)).collect();
        bench.append(&records).await;
    }
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    let running = bench.relay(&[("BUCKET_BATCH_MAX", "16")]);
    tasks.spawn("relay", running.run(stop.clone()));
    let mut left = i64::from(STEPS);
    for _ in 0..3 {
        wait_until("some rows are gone", PATIENCE, || async { bench.waiting().await < left }).await;
        // A case, because the planner is free to ask for the kill before it looks whose session it is.
        let killed = "case when datname = current_database() and application_name = 'walks-relay' \
            then pg_terminate_backend(pid) else false end";
        bench.sessions(killed).await;
        left = bench.waiting().await;
        if left == 0 {
            break;
        }
    }
    bench.drained().await;
    stop.cancel();
    assert!(tasks.wait(PATIENCE).await.is_empty());
    assert_in_order(&bench.published().await, &[BUSY.to_owned()], STEPS);
}
