//! An answer that arrives while the relay looks: the rows that waited for it go at once, not at the next poll.
//!
//! The moment is made and not hoped for. The first row's topic is new to the relay, so its second row waits for the
//! first one's answer. The broker stands still until the relay's look stands in front of a locked table; that look
//! began without room for the second row, and the answer is there before it ends.

use millrace_envelope::events;
use millrace_outbox::{OutboxRecord, append};
use millrace_runtime::{CancellationToken, Clock, Tasks};
use millrace_testkit::{Stack, TopicSpec, wait_until};
use serde::{Deserialize, Serialize};
use sqlx::Executor as _;

use crate::harness::{PATIENCE, context, kafka_settings, relay};

const TOPIC: &str = "gate-events";

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Opening {
    gate: String,
}

events! {
    /// On a topic of this test alone: what is counted for it is counted here.
    enum GateEvent on "gate-events", aggregate "gate", key gate {
        "gate.opened" v1 => Opened(Opening),
    }
}

fn opened(gate: &str) -> OutboxRecord {
    let event = GateEvent::Opened(Opening { gate: gate.to_owned() });
    OutboxRecord::of("gates", &event, &context(), &Clock::system()).unwrap()
}

/// Records of the topic of which this process's clients know that the broker has them.
fn acknowledged() -> bool {
    let page = millrace_telemetry::metrics::render();
    let mut lines = page.lines().filter(|line| line.starts_with("messaging_messages_sent_total{"));
    lines.any(|line| line.contains(TOPIC) && line.ends_with(" 1"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_during_a_look_leaves_no_row_until_the_next_poll() {
    let stack = Stack::private().await.unwrap();
    let namespace = stack.namespace();
    let database = stack.database("walks", &[&millrace_outbox::MIGRATIONS]).await;
    let _topics = stack.topics(&namespace, &[TopicSpec::new(TOPIC, 2)]).await;
    let (owner, app) = (database.owner_pool(), database.app_pool());
    let mut transaction = app.begin().await.unwrap();
    append(&mut transaction, &[opened("north"), opened("south")]).await.unwrap();
    transaction.commit().await.unwrap();
    stack.kafka().pause();
    let kafka = kafka_settings(&stack.brokers(), &namespace, &[]);
    let rarely = [("POLL_INTERVAL", "60s"), ("MEASURE_INTERVAL", "60s")];
    let relay = relay(&app, &kafka, &rarely);
    let (health, waker) = (relay.health(), relay.waker());
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    tasks.spawn("relay", relay.run(stop.clone()));
    wait_until("one row is on its way, and the relay waits", PATIENCE, || async {
        health.status().last_pass.is_some()
    })
    .await;

    let mut gate = owner.begin().await.unwrap();
    gate.execute("lock table outbox in access exclusive mode").await.unwrap();
    waker.wake();
    wait_until("the relay looks", PATIENCE, || async {
        let waiting = "select count(*) from pg_stat_activity \
            where datname = current_database() and wait_event_type = 'Lock'";
        let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&app).await.unwrap();
        waiting == 1
    })
    .await;
    stack.kafka().resume();
    wait_until("the first row's answer", PATIENCE, || async { acknowledged() }).await;
    gate.rollback().await.unwrap();

    wait_until("the outbox is empty", PATIENCE, || async {
        let rows: i64 =
            sqlx::query_scalar("select count(*) from outbox").fetch_one(&app).await.unwrap();
        if rows == 0 { Ok(()) } else { Err(rows) }
    })
    .await;
    stop.cancel();
    assert!(tasks.wait(PATIENCE).await.is_empty());
    assert_eq!(stack.records(&namespace.topic(TOPIC)).await.len(), 2);
}
