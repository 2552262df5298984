//! Members that own nothing for a while: more of them than partitions, and partitions that nobody leads.

use std::collections::{BTreeMap, BTreeSet};

use millrace_messaging::GroupProtocol;
use millrace_messaging::admin::{TopicAdmin, TopicConfig};
use millrace_testkit::{KafkaCluster, Stack, wait_until};

use crate::harness::{Depot, GROUP, Member, SOON, TOPIC, patient_producer};

fn owned(member: &Member) -> usize {
    member.handle.health().partition_count
}

async fn wait_owned(member: &Member, count: usize) {
    wait_until("it owns its share", SOON, || async {
        if owned(member) == count { Ok(()) } else { Err(member.handle.health()) }
    })
    .await;
}

async fn waits_and_takes_over(protocol: GroupProtocol) {
    let mut depot = Depot::open(1).await;
    depot.settings.group_protocol = protocol;
    let group = format!("{GROUP}{}", depot.namespace.group_suffix);
    let first = depot.member(|_| async { Ok(()) });
    wait_owned(&first, 1).await;
    let second = depot.member(|_| async { Ok(()) });
    wait_until("both are in", SOON, || async {
        let found = depot.stack.access().group(&group).await?;
        (found.state == "Stable" && found.members.len() == 2).then_some(())
    })
    .await;
    depot.send(&[("p", 0)]).await;
    wait_until("one of them works", SOON, || async { depot.numbers("p") == [0] }).await;
    // The broker's choice may move the partition; one of them has it and the other one waits without a complaint.
    wait_until("one owns it", SOON, || async {
        let owned = (owned(&first), owned(&second));
        if owned.0 + owned.1 == 1 { Ok(()) } else { Err(owned) }
    })
    .await;
    for member in [&first, &second] {
        wait_until("it has nothing to complain of", SOON, || async {
            let health = member.handle.health();
            assert!(health.running && !health.stalled, "{health:?}");
            if health.reason.is_none() { Ok(()) } else { Err(health) }
        })
        .await;
    }
    let (owner, idle) = if owned(&first) == 1 { (first, second) } else { (second, first) };
    owner.leave().await;
    wait_owned(&idle, 1).await;
    depot.send(&[("p", 1)]).await;
    wait_until("the other one works", SOON, || async { depot.numbers("p") == [0, 1] }).await;
    idle.leave().await;
}

#[tokio::test]
async fn a_member_without_a_partition_waits_in_health_and_takes_over() {
    waits_and_takes_over(GroupProtocol::Classic).await;
}

#[tokio::test]
async fn a_member_without_a_partition_takes_over_under_the_brokers_own_protocol() {
    waits_and_takes_over(GroupProtocol::Consumer).await;
}

const PARTITIONS: i32 = 3;

#[tokio::test]
async fn a_partition_that_nobody_leads_keeps_a_new_member_from_none_of_the_others() {
    let (cluster, stack) = tokio::join!(KafkaCluster::shared(), Stack::shared());
    let mut depot = Depot::closed(stack, cluster.namespace());
    depot.settings.brokers = cluster.brokers().to_owned();
    depot.producer = patient_producer(&depot.settings);
    // One replica each, so that a lost broker leaves its partition without a leader.
    let configs = BTreeMap::from([("min.insync.replicas".to_owned(), "1".to_owned())]);
    let topic = TopicConfig { name: TOPIC, partitions: PARTITIONS, replication: 1, configs };
    let admin = TopicAdmin::new(&depot.settings).unwrap();
    admin.ensure(&[topic]).await.unwrap();
    let ids = wait_until("every partition takes records", SOON, || async {
        let leaders = cluster.access().partitions(&depot.topic()).await.ok()?;
        (leaders.len() == 3).then_some(())
    });
    ids.await;
    let ids = depot.ids_by_partition(PARTITIONS).await;
    let lost = cluster.leader_of(&depot.topic(), 0).await;
    let led: BTreeSet<i32> = {
        let mut others = BTreeSet::new();
        for partition in 1..PARTITIONS {
            if cluster.leader_of(&depot.topic(), partition).await != lost {
                others.insert(partition);
            }
        }
        others
    };
    assert!(!led.is_empty(), "another broker leads one");
    cluster.broker(lost).kill();
    let member = depot.member(|_| async { Ok(()) });
    for partition in &led {
        depot.send(&[(&ids[partition], 1)]).await;
    }
    wait_until("the others are worked on", SOON, || async {
        let done = depot.done();
        let reached = done.iter().filter(|seen| seen.number == 1).map(|seen| seen.partition);
        let reached: BTreeSet<i32> = reached.collect();
        if reached == led { Ok(()) } else { Err((reached, member.handle.health())) }
    })
    .await;
    assert!(depot.numbers(&ids[&0]).is_empty(), "nobody can have read it");
    cluster.broker(lost).start().await.unwrap();
    depot.send(&[(&ids[&0], 1)]).await;
    wait_until("it is worked on from its beginning", SOON, || async {
        let numbers = depot.numbers(&ids[&0]);
        if numbers.starts_with(&[0]) && numbers.contains(&1) { Ok(()) } else { Err(numbers) }
    })
    .await;
    member.leave().await;
    admin.delete(&[TOPIC]).await.unwrap();
}
