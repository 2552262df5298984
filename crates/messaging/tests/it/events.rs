//! What a consumer tells to those who listen.

use std::sync::Arc;
use std::time::Duration;

use millrace_messaging::ConsumerEvent;
use millrace_testkit::{Stack, TopicSpec, Way, wait_until};
use tokio::sync::Semaphore;
use tokio::sync::broadcast::Receiver;

use crate::harness::{Depot, GROUP, SOON, TOPIC};

async fn next(events: &mut Receiver<ConsumerEvent>) -> ConsumerEvent {
    tokio::time::timeout(SOON, events.recv()).await.expect("an event comes").unwrap()
}

#[tokio::test]
async fn partitions_that_come_and_go_are_told() {
    let depot = Depot::open(2).await;
    let first = depot.member(|_| async { Ok(()) });
    let mut events = first.handle.events();
    assert_eq!(next(&mut events).await, ConsumerEvent::Assigned { partitions: vec![0, 1] });
    let second = depot.member(|_| async { Ok(()) });
    let ConsumerEvent::Revoked { partitions } = next(&mut events).await else {
        panic!("one goes to the second")
    };
    assert_eq!(partitions.len(), 1);
    second.leave().await;
    assert_eq!(next(&mut events).await, ConsumerEvent::Assigned { partitions });
    first.leave().await;
}

#[tokio::test]
async fn a_handler_that_hangs_is_told_as_a_stall_and_its_end_too() {
    let mut depot = Depot::open(1).await;
    depot.settings.stall_limit = Duration::from_secs(1);
    let gate = Arc::new(Semaphore::new(0));
    let member = {
        let gate = Arc::clone(&gate);
        depot.member(move |_| {
            let gate = Arc::clone(&gate);
            async move {
                drop(gate.acquire().await.unwrap());
                Ok(())
            }
        })
    };
    let mut events = member.handle.events();
    assert_eq!(next(&mut events).await, ConsumerEvent::Assigned { partitions: vec![0] });
    depot.send(&[("p", 0)]).await;
    // On a machine that stands still, one may come before of records that wait.
    let reason = loop {
        let told = next(&mut events).await;
        if matches!(told, ConsumerEvent::Recovered) {
            continue;
        }
        let ConsumerEvent::Stalled { reason } = told else { panic!("{told:?} is no stall") };
        if reason.contains("handler") {
            break reason;
        }
    };
    assert!(reason.contains("partition 0"), "{reason}");
    let health = member.handle.health();
    assert!(health.stalled && health.running, "{health:?}");
    gate.add_permits(1);
    assert_eq!(next(&mut events).await, ConsumerEvent::Recovered);
    wait_until("the health knows", SOON, || async { !member.handle.health().stalled }).await;
    member.leave().await;
}

#[tokio::test]
async fn partitions_that_the_broker_takes_away_are_told_as_lost() {
    let stack: &'static Stack = Box::leak(Box::new(Stack::private().await.unwrap()));
    let namespace = stack.namespace();
    let dead = TOPIC.dead_letter(GROUP);
    let specs = [TopicSpec::new(TOPIC.as_str(), 2), TopicSpec::new(dead.as_str(), 1)];
    let topics = stack.topics(&namespace, &specs).await;
    let mut depot = Depot::closed(stack, namespace);
    depot.settings.session_timeout = Duration::from_secs(4);
    depot.settings.revoke_timeout = Duration::from_secs(1);
    let direct = depot.settings.brokers.clone();
    depot.settings.brokers = stack.kafka_proxy().address();
    let cut_off = depot.member(|_| async { Ok(()) });
    let mut events = cut_off.handle.events();
    assert_eq!(next(&mut events).await, ConsumerEvent::Assigned { partitions: vec![0, 1] });
    stack.kafka_proxy().freeze(Way::Both);
    depot.settings.brokers = direct;
    let other = depot.member(|_| async { Ok(()) });
    wait_until("the other has them", SOON, || async { other.handle.health().partition_count == 2 })
        .await;
    stack.kafka_proxy().pass();
    let ConsumerEvent::Lost { mut partitions } = next(&mut events).await else {
        panic!("not lost")
    };
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 1]);
    assert!(matches!(next(&mut events).await, ConsumerEvent::Assigned { .. }), "not back");
    wait_until("they share again", SOON, || async {
        let owned = [&cut_off, &other].map(|member| member.handle.health().partition_count);
        if owned == [1, 1] { Ok(()) } else { Err(owned) }
    })
    .await;
    cut_off.leave().await;
    other.leave().await;
    drop(topics);
}
