//! Three brokers, of which one is lost, frozen or unreachable: nothing is lost, no key is overtaken, and the
//! consumer goes on by itself.
//!
//! The tests share one cluster, one at a time. Each of them sends while the fault lasts, repeating what was not acknowledged:
//! so a record may come twice, but none may be missing, and none may be done before all that were sent before it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use millrace_messaging::{Producer, ProducerProfile};
use millrace_testkit::{ClusterTurn, KafkaCluster, Stack, TestTopics, TopicSpec, Way, wait_until};

use crate::harness::{
    Depot, GROUP, Member, SOON, Seen, TOPIC, assert_no_stall, patient_producer, record,
};

const PARTITIONS: i32 = 3;
/// Long enough for the brokers to notice, and for a group to come together again afterwards, on a busy machine too.
const RECOVERY: Duration = SOON;

/// A depot on the three brokers. The cluster is last: it goes to the next test when the topics are on their way out.
struct Site {
    depot: Depot,
    /// A parcel for each partition, and how many of its numbers were acknowledged.
    parcels: BTreeMap<i32, (String, u32)>,
    _topics: TestTopics,
    cluster: ClusterTurn,
}

impl Site {
    async fn open() -> Self {
        // The stack's own Kafka is not used: all that is under test is on the cluster.
        let (cluster, stack) = tokio::join!(KafkaCluster::shared(), Stack::shared());
        let mut depot = Depot::closed(stack, cluster.namespace());
        let dead = TOPIC.dead_letter(GROUP);
        let specs = [TopicSpec::new(TOPIC.as_str(), PARTITIONS), TopicSpec::new(dead.as_str(), 1)];
        let topics = cluster.topics(&depot.namespace, &specs).await;
        depot.settings.brokers = cluster.brokers().to_owned();
        depot.settings.session_timeout = Duration::from_secs(3);
        depot.settings.revoke_timeout = Duration::from_secs(1);
        depot.settings.publish_timeout = Duration::from_secs(1);
        depot.producer = patient_producer(&depot.settings);
        let mut site = Self { depot, parcels: BTreeMap::new(), _topics: topics, cluster };
        for (partition, id) in site.depot.ids_by_partition(PARTITIONS).await {
            site.parcels.insert(partition, (id, 1));
        }
        // From here on who sends is told soon, and sends again.
        let hasty = Producer::new(&site.depot.settings, ProducerProfile::Durable);
        site.depot.producer = hasty.unwrap();
        site
    }

    fn member(&self) -> Member {
        self.depot.member(|_| async { Ok(()) })
    }

    /// Sends the next numbers of every parcel in turn, each until it is acknowledged.
    async fn send(&mut self, count: u32) {
        for _ in 0..count {
            for (id, next) in self.parcels.values_mut() {
                let parcel = record(id, *next);
                let depot = &self.depot;
                wait_until("the record is acknowledged", RECOVERY, || async {
                    let sent = depot.producer.publish(&parcel).await;
                    sent.map(drop).map_err(|error| error.to_string())
                })
                .await;
                *next += 1;
            }
        }
    }

    /// Waits until every number of every parcel is done and committed, and checks that no key was overtaken.
    async fn settled(&self) {
        for (id, next) in self.parcels.values() {
            let expected: Vec<u32> = (0..*next).collect();
            wait_until("all of it is done", RECOVERY, || async {
                let mut numbers = self.depot.numbers(id);
                numbers.sort_unstable();
                numbers.dedup();
                if numbers == expected { Ok(()) } else { Err((id, numbers.len(), next)) }
            })
            .await;
        }
        self.assert_no_one_overtook();
        for partition in 0..PARTITIONS {
            self.committed_to_the_end(partition).await;
        }
    }

    async fn committed_to_the_end(&self, partition: i32) {
        let (access, topic) = (self.cluster.access(), self.depot.topic());
        let group = self.group();
        wait_until("all of it is committed", RECOVERY, || async {
            let end = access.log_end(&topic, partition).await.map_err(|error| error.to_string())?;
            let committed = access.committed(&group, &topic, partition).await;
            let reached = committed.as_ref().is_some_and(|committed| committed.offset == end);
            if reached { Ok(()) } else { Err(format!("{committed:?} of {end}")) }
        })
        .await;
    }

    fn assert_no_one_overtook(&self) {
        let mut next: BTreeMap<&str, u32> = BTreeMap::new();
        let done = self.depot.done();
        for Seen { parcel, number, .. } in &done {
            let expected = next.entry(parcel).or_default();
            assert!(*number <= *expected, "{parcel}/{number} came before {expected}");
            *expected = (*expected).max(number + 1);
        }
    }

    fn group(&self) -> String {
        format!("{GROUP}{}", self.depot.namespace.group_suffix)
    }

    /// The member owns everything, so that the fault meets a consumer at work.
    async fn works(&mut self, member: &Member) {
        wait_until("it owns all", RECOVERY, || async {
            let owned = member.handle.health().partition_count;
            if owned == 3 { Ok(()) } else { Err(owned) }
        })
        .await;
        self.send(3).await;
        self.settled().await;
    }

    /// After the fault: new records are handled, and nothing is complained of.
    async fn goes_on(&mut self, member: &Member) {
        self.send(3).await;
        self.settled().await;
        wait_until("nothing is said any more", RECOVERY, || async {
            let health = member.handle.health();
            if health.reason.is_none() && health.lag == 0 { Ok(()) } else { Err(health) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_killed_leader_costs_no_record_and_no_order() {
    let mut site = Site::open().await;
    let member = site.member();
    site.works(&member).await;
    let leader = site.cluster.leader_of(&site.depot.topic(), 0).await;
    site.cluster.broker(leader).kill();
    site.send(20).await;
    site.settled().await;
    site.cluster.broker(leader).start().await.unwrap();
    site.goes_on(&member).await;
    member.leave().await;
}

#[tokio::test]
async fn a_frozen_leader_costs_no_record_and_no_order() {
    let mut site = Site::open().await;
    let member = site.member();
    site.works(&member).await;
    let leader = site.cluster.leader_of(&site.depot.topic(), 0).await;
    site.cluster.broker(leader).pause();
    site.send(20).await;
    site.settled().await;
    // What it answers now is of its former life, and must not be believed.
    site.cluster.broker(leader).resume();
    site.goes_on(&member).await;
    member.leave().await;
}

#[tokio::test]
async fn a_broker_restarted_in_the_orderly_way_costs_nothing() {
    let mut site = Site::open().await;
    let member = site.member();
    site.works(&member).await;
    let leader = site.cluster.leader_of(&site.depot.topic(), 1).await;
    site.cluster.broker(leader).stop().await.unwrap();
    site.send(5).await;
    site.cluster.broker(leader).start().await.unwrap();
    site.send(5).await;
    site.settled().await;
    site.goes_on(&member).await;
    member.leave().await;
}

#[tokio::test]
async fn a_killed_coordinator_is_replaced_and_commits_go_on() {
    let mut site = Site::open().await;
    let member = site.member();
    site.works(&member).await;
    let coordinator = site.cluster.coordinator_of(&site.group()).await;
    site.cluster.broker(coordinator).kill();
    site.send(10).await;
    site.settled().await;
    assert_ne!(site.cluster.coordinator_of(&site.group()).await, coordinator);
    site.cluster.broker(coordinator).start().await.unwrap();
    site.goes_on(&member).await;
    member.leave().await;
}

#[tokio::test]
async fn a_moved_coordinator_and_moved_leaders_cost_nothing() {
    let mut site = Site::open().await;
    let member = site.member();
    site.works(&member).await;
    let coordinator = site.cluster.coordinator_of(&site.group()).await;
    for next in site.cluster.ids().filter(|id| *id != coordinator).collect::<Vec<i32>>() {
        site.cluster.access().move_coordinator(&site.group(), next).await.unwrap();
        for partition in 0..PARTITIONS {
            let topic = site.depot.topic();
            site.cluster.move_leader(&topic, partition, next).await.unwrap();
        }
        site.send(5).await;
    }
    site.settled().await;
    site.goes_on(&member).await;
    member.leave().await;
}

#[tokio::test]
async fn all_brokers_frozen_beyond_the_session_cost_nothing() {
    let mut site = Site::open().await;
    site.depot.settings.stall_limit = Duration::from_secs(1);
    let member = site.member();
    site.works(&member).await;
    site.cluster.ids().for_each(|id| site.cluster.broker(id).pause());
    let mut events = member.handle.events();
    let frozen = Instant::now();
    wait_until("the outage has lasted", RECOVERY, || async {
        let health = member.handle.health();
        assert!(health.running, "{health:?}");
        frozen.elapsed() > site.depot.settings.session_timeout * 2
    })
    .await;
    // Polling goes on, and an outage is no stall.
    member.turned().await;
    assert_no_stall(&mut events);
    site.cluster.ids().for_each(|id| site.cluster.broker(id).resume());
    site.goes_on(&member).await;
    member.leave().await;
}

#[tokio::test]
async fn a_member_that_is_not_heard_is_replaced_and_its_late_commits_do_no_harm() {
    cut_off(Way::ToServer).await;
}

#[tokio::test]
async fn a_member_that_hears_nothing_is_replaced_and_comes_back() {
    cut_off(Way::ToClient).await;
}

/// One of two members loses one direction of its connections. What it said or heard meanwhile comes through in the
/// end, when others own its partitions.
async fn cut_off(way: Way) {
    let mut site = Site::open().await;
    let direct = site.depot.settings.brokers.clone();
    site.depot.settings.brokers = site.cluster.proxied_brokers();
    let behind = site.member();
    site.works(&behind).await;
    site.depot.settings.brokers = direct;
    // Work in hand when the line goes: its commit is on the way, or held up.
    site.send(1).await;
    site.cluster.ids().for_each(|id| site.cluster.proxy(id).freeze(way));
    let other = site.member();
    wait_until("the other has all", RECOVERY, || async {
        let owned = other.handle.health().partition_count;
        if owned == 3 { Ok(()) } else { Err(owned) }
    })
    .await;
    site.send(5).await;
    site.settled().await;
    site.cluster.ids().for_each(|id| site.cluster.proxy(id).pass());
    wait_until("they share", RECOVERY, || async {
        let owned = [&behind, &other].map(|member| member.handle.health().partition_count);
        if owned.iter().sum::<usize>() == 3 && !owned.contains(&0) { Ok(()) } else { Err(owned) }
    })
    .await;
    site.goes_on(&other).await;
    behind.leave().await;
    other.leave().await;
}

#[tokio::test]
async fn a_handler_slower_than_its_session_keeps_its_place_and_works_once() {
    let mut site = Site::open().await;
    // Longer than the test's own process may stand still, and shorter than the work.
    site.depot.settings.session_timeout = Duration::from_secs(4);
    let member = site.depot.member(|seen| async move {
        if seen.iter().any(|seen| seen.number == 1) {
            outlast(Duration::from_secs(6)).await;
        }
        Ok(())
    });
    let group = site.group();
    let before = wait_until("the group is stable", RECOVERY, || async {
        let group = site.cluster.access().group(&group).await?;
        (group.state == "Stable" && group.members.len() == 1).then_some(group)
    })
    .await;
    site.send(1).await;
    site.settled().await;
    assert_eq!(site.cluster.access().group(&group).await, Some(before), "no rebalance came of it");
    let done = site.depot.done();
    let sent: u32 = site.parcels.values().map(|(_, next)| *next).sum();
    assert!(done.len() >= usize::try_from(sent).unwrap());
    let mut once: Vec<(&str, i64)> =
        done.iter().map(|seen| (seen.parcel.as_str(), seen.offset)).collect();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), done.len(), "no record was handed over twice: {done:?}");
    member.leave().await;
}

/// Lets a span pass that is the matter itself: an outage, or a handler's work, of such a length.
async fn outlast(span: Duration) {
    tokio::time::sleep(span).await;
}
