//! The broker goes away and comes back.

use std::time::Duration;

use millrace_messaging::{Producer, ProducerProfile};
use millrace_testkit::{Stack, TopicSpec, wait_until};

use crate::harness::{Depot, GROUP, SOON, TOPIC, record};

#[tokio::test]
async fn a_broker_that_goes_and_comes_back_costs_no_record() {
    let stack: &'static Stack = Box::leak(Box::new(Stack::private().await.unwrap()));
    let namespace = stack.namespace();
    let dead = TOPIC.dead_letter(GROUP);
    let specs = [TopicSpec::new(TOPIC.as_str(), 2), TopicSpec::new(dead.as_str(), 1)];
    let topics = stack.topics(&namespace, &specs).await;
    let mut depot = Depot::closed(stack, namespace);
    // Shorter than the outage, so that the partitions are lost and joined for again.
    depot.settings.session_timeout = Duration::from_secs(3);
    depot.settings.publish_timeout = Duration::from_secs(1);
    let hasty = Producer::new(&depot.settings, ProducerProfile::Durable).unwrap();
    let member = depot.member(|_| async { Ok(()) });
    depot.send(&[("p", 0)]).await;
    wait_until("it consumes", SOON, || async { depot.numbers("p") == [0] }).await;

    stack.kafka().kill();
    wait_until("the health tells", SOON, || async {
        let reason = member.handle.health().reason.unwrap_or_default();
        if reason.contains("away") { Ok(()) } else { Err(reason) }
    })
    .await;
    let failure = hasty.publish(&record("p", 1)).await;
    assert!(failure.is_err(), "nobody acknowledged it");
    let health = member.handle.health();
    assert!(health.running && !health.stalled, "{health:?}");
    member.turned().await;

    stack.kafka().start().await.unwrap();
    wait_until("the broker takes messages", SOON, || async {
        hasty.publish(&record("p", 2)).await.is_ok()
    })
    .await;
    depot.send(&[("p", 3)]).await;
    wait_until("it consumes again", SOON, || async { depot.numbers("p").contains(&3) }).await;
    wait_until("nothing is said any more", SOON, || async {
        member.handle.health().reason.is_none()
    })
    .await;
    member.leave().await;
    drop(topics);
}
