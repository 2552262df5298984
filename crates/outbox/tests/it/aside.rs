//! One bad aggregate is set aside, its successors with it, and nobody else.

use std::time::Duration;

use millrace_messaging::KafkaSettings;
use millrace_outbox::aside::{Released, Which, list, release};
use millrace_runtime::{CancellationToken, Tasks};
use millrace_testkit::{TopicSpec, wait_until};

use crate::harness::{
    Bench, PATIENCE, assert_in_order, kafka_settings, lost_step, padded_step, relay, step, steps,
};

const BAD: &str = "bad";

fn narrow(bench: &Bench) -> KafkaSettings {
    let small = [("MESSAGE_BYTES_MAX", "2KiB")];
    kafka_settings(&bench.stack.brokers(), &bench.namespace, &small)
}

async fn is_set_aside(bench: &Bench) {
    wait_until("the aggregate is set aside", PATIENCE, || async {
        bench.count("select count(*) from outbox_aside").await == 1
    })
    .await;
}

#[tokio::test]
async fn an_aggregate_that_fails_again_and_again_is_set_aside_until_it_is_released() {
    let bench = Bench::new().await;
    bench.append(&[step(BAD, 1), padded_step(BAD, 2, 4096), step(BAD, 3)]).await;
    let running = relay(&bench.app, &narrow(&bench), &[("ASIDE_AFTER", "2")]);
    let (health, waker) = (running.health(), running.waker());
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    tasks.spawn("relay", running.run(stop.clone()));
    is_set_aside(&bench).await;

    // What is appended later joins it, and the others flow.
    for number in 1..=5 {
        bench.append(&[step("good", number), step(BAD, number + 3)]).await;
        waker.wake();
    }
    wait_until("bad rows are parked, good ones gone", PATIENCE, || async {
        let parked = bench.count("select count(*) from outbox where bucket < 0").await;
        if (parked, bench.waiting().await) == (7, 7) { Ok(()) } else { Err(parked) }
    })
    .await;
    wait_until("health says it", PATIENCE, || async { health.status().set_aside == 1 }).await;
    stop.cancel();
    assert!(tasks.wait(PATIENCE).await.is_empty());
    assert_in_order(&bench.published().await, &["good".to_owned()], 5);

    let mut conn = bench.app.acquire().await.unwrap();
    let aside = list(&mut conn).await.unwrap();
    assert_eq!(aside.len(), 1);
    assert_eq!((aside[0].aggregateid.as_str(), aside[0].rows, aside[0].failures), (BAD, 7, 2));
    assert!(aside[0].reason.contains("larger than the allowed"), "{}", aside[0].reason);
    let which = Which::Aggregate { topic: "walk-events", aggregate_id: BAD };
    let released = release(&mut conn, which).await.unwrap();
    assert_eq!(released, Released { aggregates: 1, rows: 7 });
    bench.append(&[step(BAD, 9)]).await;
    assert_eq!(bench.relay(&[]).relay_once().await.unwrap(), 8);
    assert_in_order(&bench.published().await, &[BAD.to_owned()], 9);
}

/// The broker refuses whole batches, so innocent rows fail together with the bad one, and its successors are on their
/// way while it fails: none of them may arrive before it.
#[tokio::test]
async fn a_row_that_the_broker_refuses_takes_no_others_with_it_and_is_never_passed() {
    let tight = TopicSpec::new("walk-events", 1).with("max.message.bytes", "20000");
    let bench = Bench::with_topic(tight).await;
    let walks: Vec<String> = (0..10).map(|walk| format!("walk-{walk}")).collect();
    bench.append(&[step(BAD, 1)]).await;
    for number in 1..=3 {
        let records: Vec<_> = walks.iter().map(|walk| step(walk, number)).collect();
        bench.append(&records).await;
        bench.append(&[padded_step(BAD, number + 1, if number == 1 { 30_000 } else { 0 })]).await;
    }
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    tasks.spawn("relay", bench.relay(&[("ASIDE_AFTER", "3")]).run(stop.clone()));
    is_set_aside(&bench).await;
    wait_until("all others are gone", PATIENCE, || async {
        match bench.waiting().await {
            3 => Ok(()),
            rows => Err(rows),
        }
    })
    .await;
    stop.cancel();
    assert!(tasks.wait(PATIENCE).await.is_empty());
    let records = bench.published().await;
    assert_in_order(&records, &walks, 3);
    assert_in_order(&records, &[BAD.to_owned()], 1);
    assert_eq!(bench.count("select count(*) from outbox_aside").await, 1, "the innocent stay");
}

#[tokio::test]
async fn a_missing_topic_is_nobodys_own_failure() {
    let bench = Bench::new().await;
    let lost: Vec<_> = (0..20).map(|walk| lost_step(&format!("lost-{walk}"), 1)).collect();
    bench.append(&lost).await;
    // The client gives a topic half a minute to appear; the relay must serve the others meanwhile.
    let running = bench.relay(&[("ASIDE_AFTER", "1"), ("BUCKET_BATCH_MAX", "4")]);
    let waker = running.waker();
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    tasks.spawn("relay", running.run(stop.clone()));
    for number in 1..=50 {
        bench.append(&[step("good", number)]).await;
        waker.wake();
    }
    wait_until("the good rows are gone", PATIENCE, || async { bench.waiting().await == 20 }).await;
    assert_eq!(bench.count("select count(*) from outbox_aside").await, 0);
    stop.cancel();
    assert!(tasks.wait(Duration::from_secs(20)).await.is_empty());
    assert_eq!(steps(&bench.published().await).len(), 50);
}

/// Releases meet a relay that is just moving rows: wherever they cross, no row may stay where nobody reads.
#[tokio::test]
async fn no_row_stays_behind_when_a_release_and_the_relay_cross() {
    const ROUNDS: u32 = 25;
    let bench = Bench::new().await;
    let restless = [("ASIDE_AFTER", "1"), ("POLL_INTERVAL", "5ms")];
    let running = relay(&bench.app, &narrow(&bench), &restless);
    let waker = running.waker();
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    tasks.spawn("relay", running.run(stop.clone()));
    let mut conn = bench.app.acquire().await.unwrap();
    for round in 0..ROUNDS {
        let first = round * 3 + 1;
        bench.append(&[padded_step(BAD, first, 4096), step(BAD, first + 1)]).await;
        waker.wake();
        is_set_aside(&bench).await;
        bench.append(&[step(BAD, first + 2)]).await;
        waker.wake();
        release(&mut conn, Which::Topic("walk-events")).await.unwrap();
    }
    stop.cancel();
    assert!(tasks.wait(PATIENCE).await.is_empty());
    release(&mut conn, Which::All).await.unwrap();
    assert_eq!(bench.count("select count(*) from outbox where bucket < 0").await, 0);
    bench.relay(&[]).relay_once().await.unwrap();
    assert_in_order(&bench.published().await, &[BAD.to_owned()], ROUNDS * 3);
}
