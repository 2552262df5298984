//! One bad aggregate, a topic that hangs, a broker that is away.

use std::time::Duration;

use millrace_outbox::RelayError;
use millrace_runtime::{CancellationToken, Tasks};
use millrace_testkit::{Stack, TopicSpec, wait_until};

use crate::harness::{
    Bench, PATIENCE, assert_in_order, kafka_settings, lost_step, padded_step, relay, step, steps,
};

#[tokio::test]
async fn a_row_that_fails_holds_back_only_its_own_aggregate() {
    let bench = Bench::new().await;
    let small = [("MESSAGE_BYTES_MAX", "2KiB")];
    let kafka = kafka_settings(&bench.stack.brokers(), &bench.namespace, &small);
    let narrow = relay(&bench.app, &kafka, &[]);
    bench.append(&[step("bad", 1), padded_step("bad", 2, 4096), step("bad", 3)]).await;
    for number in 1..=5 {
        bench.append(&[step("good", number), step("fair", number)]).await;
    }

    assert_eq!(narrow.relay_once().await.unwrap(), 11);
    assert_eq!(narrow.health().status().held_aggregates, 1);
    let published = steps(&bench.published().await);
    let bad: Vec<_> = published.iter().filter(|(walk, _)| walk == "bad").collect();
    assert_eq!(bad, [&("bad".to_owned(), 1)], "what comes after the failing row waits for it");
    assert_eq!(bench.waiting().await, 2);

    let second = narrow.relay_once().await;
    assert!(matches!(second, Err(RelayError::Broker { rows: 1, .. })), "{second:?}");
    assert_eq!(bench.relay(&[]).relay_once().await.unwrap(), 2);
    assert_in_order(&bench.published().await, &["bad".to_owned()], 3);
}

#[tokio::test]
async fn a_topic_that_hangs_does_not_keep_other_rows_waiting() {
    let bench = Bench::new().await;
    // More than a bucket's share of one pass, all in front of the good ones.
    let lost: Vec<_> = (0..300).map(|walk| lost_step(&format!("lost-{walk}"), 1)).collect();
    bench.append(&lost).await;
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    let running = bench.relay(&[("BUCKET_BATCH_MAX", "8")]);
    let waker = running.waker();
    tasks.spawn("relay", running.run(stop.clone()));
    for number in 1..=20 {
        bench.append(&[step("good", number)]).await;
        waker.wake();
    }
    wait_until("the good rows are gone", PATIENCE, || async {
        match bench.waiting().await {
            300 => Ok(()),
            rows => Err(rows),
        }
    })
    .await;
    assert_in_order(&bench.published().await, &["good".to_owned()], 20);
    stop.cancel();
    assert!(tasks.wait(PATIENCE).await.is_empty());
}

/// The first answers come after more rows are on their way than one topic may have: nothing can be read for a while,
/// and that must not look like an empty outbox.
#[tokio::test]
async fn a_slow_broker_does_not_end_a_pass_early() {
    let bench = Bench::new().await;
    let slow = [("LINGER", "400ms")];
    let kafka = kafka_settings(&bench.stack.brokers(), &bench.namespace, &slow);
    let rows: Vec<_> = (0..2500).map(|walk| step(&format!("walk-{walk}"), 1)).collect();
    bench.append(&rows).await;
    assert_eq!(relay(&bench.app, &kafka, &[]).relay_once().await.unwrap(), 2500);
    assert_eq!(bench.published().await.len(), 2500);
}

#[tokio::test]
async fn a_broker_and_a_database_that_go_and_come_back_lose_nothing() {
    let stack = Stack::private().await.unwrap();
    let namespace = stack.namespace();
    let database = stack.database("walks", &[&millrace_outbox::MIGRATIONS]).await;
    let _topics = stack.topics(&namespace, &[TopicSpec::new("walk-events", 2)]).await;
    let pool = database.app_pool();
    let append = async |number: u32| {
        let mut conn = pool.acquire().await.unwrap();
        millrace_outbox::append(&mut conn, &[step("a", number)]).await.unwrap();
    };
    let kafka = kafka_settings(&stack.brokers(), &namespace, &[("PUBLISH_TIMEOUT", "2s")]);
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    let running = relay(&pool, &kafka, &[("MEASURE_INTERVAL", "50ms")]);
    let health = running.health();
    tasks.spawn("relay", running.run(stop.clone()));
    let left = async || -> i64 {
        sqlx::query_scalar("select count(*) from outbox").fetch_one(&pool).await.unwrap_or(-1)
    };
    let empty = async || {
        wait_until("the outbox is empty", Duration::from_secs(20), || async { left().await == 0 })
            .await;
    };
    append(1).await;
    empty().await;

    stack.kafka().stop().await.unwrap();
    append(2).await;
    append(3).await;
    wait_until("the backlog shows", PATIENCE, || async { health.status().backlog == 2 }).await;
    stack.kafka().start().await.unwrap();
    empty().await;

    stack.postgres().stop().await.unwrap();
    wait_until("the relay knows", PATIENCE, || async { !health.status().connected }).await;
    stack.postgres().start().await.unwrap();
    wait_until("the pool works again", PATIENCE, || async { left().await == 0 }).await;
    append(4).await;
    empty().await;

    stop.cancel();
    assert!(tasks.wait(PATIENCE).await.is_empty());
    let records = stack.records(&namespace.topic("walk-events")).await;
    assert_in_order(&records, &["a".to_owned()], 4);
}
