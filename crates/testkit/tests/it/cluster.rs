//! Three brokers go on without any one of them.

use std::time::{Duration, Instant};

use millrace_testkit::{KafkaCluster, TopicSpec, wait_until};

const LIMIT: Duration = Duration::from_secs(15);

#[tokio::test]
async fn three_brokers_start_replicated_and_survive_a_killed_leader() {
    let started = Instant::now();
    let cluster = KafkaCluster::shared().await;
    println!("a cluster took {:?}", started.elapsed());
    let topics = cluster.topics(&cluster.namespace(), &[TopicSpec::new("kept", 1)]).await;
    let topic = &topics.names()[0];
    let state = cluster.partition(topic, 0).await.unwrap();
    assert_eq!((state.replicas.len(), state.in_sync.len()), (3, 3), "{state:?}");
    let offsets = cluster.partition("__consumer_offsets", 0).await.unwrap();
    assert_eq!(offsets.replicas.len(), 3, "the internal topics are replicated: {offsets:?}");

    cluster.access().produce(topic, b"k", Some(b"1"), &[]).await;
    let killed = cluster.leader_of(topic, 0).await;
    cluster.broker(killed).kill();
    let lost = Instant::now();
    wait_until("another one leads", LIMIT, || async {
        let leader = cluster.leader_of(topic, 0).await;
        if leader == killed { Err(leader) } else { Ok(()) }
    })
    .await;
    println!("another one led after {:?}", lost.elapsed());
    cluster.access().produce(topic, b"k", Some(b"2"), &[]).await;
    assert_eq!(cluster.access().records(topic).await.len(), 2);
    assert_eq!(cluster.access().broker_ids().await.unwrap().len(), 2);
    cluster.heal().await.unwrap();
    println!("healed after {:?}", lost.elapsed());
    assert_eq!(cluster.access().broker_ids().await.unwrap(), [1, 2, 3]);
}

#[tokio::test]
async fn a_frozen_leader_is_replaced_and_comes_back() {
    let cluster = KafkaCluster::shared().await;
    let topics = cluster.topics(&cluster.namespace(), &[TopicSpec::new("kept", 1)]).await;
    let topic = &topics.names()[0];
    let frozen = cluster.leader_of(topic, 0).await;
    cluster.broker(frozen).pause();
    assert!(cluster.broker(frozen).running());
    wait_until("another one leads", LIMIT, || async {
        cluster.leader_of(topic, 0).await != frozen
    })
    .await;
    cluster.access().produce(topic, b"k", Some(b"1"), &[]).await;
    cluster.broker(frozen).resume();
    cluster.wait_in_sync().await.unwrap();
    assert_eq!(cluster.access().records(topic).await.len(), 1);
}

#[tokio::test]
async fn leaders_and_coordinators_move_without_a_fault() {
    let cluster = KafkaCluster::shared().await;
    let namespace = cluster.namespace();
    let topics = cluster.topics(&namespace, &[TopicSpec::new("kept", 1)]).await;
    let topic = &topics.names()[0];
    for broker in cluster.ids() {
        cluster.move_leader(topic, 0, broker).await.unwrap();
        assert_eq!(cluster.leader_of(topic, 0).await, broker);
    }
    let group = format!("movers{}", namespace.group_suffix);
    for broker in cluster.ids() {
        cluster.access().move_coordinator(&group, broker).await.unwrap();
        wait_until("it coordinates", LIMIT, || async {
            let found = cluster.coordinator_of(&group).await;
            if found == broker { Ok(()) } else { Err(found) }
        })
        .await;
    }
    assert!(cluster.move_leader(topic, 0, 9).await.is_err(), "there is no broker 9");
}
