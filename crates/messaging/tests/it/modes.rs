//! What each mode promises about order, side-by-side work and who owns what, under both rebalance protocols.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millrace_messaging::{ConsumerEvent, GroupProtocol, Mode};
use millrace_testkit::{Stack, TestTopics, TopicSpec, wait_until};
use tokio::sync::broadcast::Receiver;

use crate::harness::{Depot, GROUP, Member, SOON, Seen, TOPIC};

const PROTOCOLS: [GroupProtocol; 2] = [GroupProtocol::Classic, GroupProtocol::Consumer];

/// Counts who runs beside whom.
#[derive(Debug, Clone, Default)]
struct Floor(Arc<Mutex<Counts>>);

#[derive(Debug, Default)]
struct Counts {
    running: BTreeMap<String, usize>,
    /// Side by side, over all and in one lane, at most.
    most: usize,
    most_in_lane: usize,
}

impl Floor {
    fn begin(&self, lane: &str) {
        let mut counts = self.0.lock().unwrap();
        let in_lane = counts.running.entry(lane.to_owned()).or_default();
        *in_lane += 1;
        let in_lane = *in_lane;
        counts.most_in_lane = counts.most_in_lane.max(in_lane);
        counts.most = counts.most.max(counts.running.values().sum());
    }

    fn end(&self, lane: &str) {
        *self.0.lock().unwrap().running.get_mut(lane).unwrap() -= 1;
    }

    fn most(&self) -> (usize, usize) {
        let counts = self.0.lock().unwrap();
        (counts.most, counts.most_in_lane)
    }
}

fn working(depot: &Depot, mode: Mode, floor: &Floor, lane: fn(&Seen) -> String) -> Member {
    let floor = floor.clone();
    depot.member_in(mode, move |seen| {
        let (floor, lane) = (floor.clone(), lane(&seen[0]));
        async move {
            floor.begin(&lane);
            tokio::time::sleep(Duration::from_millis(5)).await;
            floor.end(&lane);
            Ok(())
        }
    })
}

async fn send_rounds(depot: &Depot, parcels: &[&str], rounds: u32) {
    let all: Vec<(&str, u32)> =
        (0..rounds).flat_map(|round| parcels.iter().map(move |id| (*id, round))).collect();
    depot.send(&all).await;
}

async fn wait_done(depot: &Depot, count: usize) {
    wait_until("all are done", SOON, || async {
        let done = depot.done().len();
        if done == count { Ok(()) } else { Err(done) }
    })
    .await;
}

fn owned(member: &Member) -> usize {
    member.handle.health().partition_count
}

async fn wait_owned(member: &Member, count: usize) {
    wait_until("it owns its share", SOON, || async {
        if owned(member) == count { Ok(()) } else { Err(member.handle.health()) }
    })
    .await;
}

/// What was told since the last look.
fn told(events: &mut Receiver<ConsumerEvent>) -> Vec<ConsumerEvent> {
    std::iter::from_fn(|| events.try_recv().ok()).collect()
}

async fn retry_topics(depot: &Depot) -> TestTopics {
    let tiers = millrace_envelope::RetryTier::ALL;
    let specs = tiers.map(|tier| TopicSpec::new(TOPIC.retry(GROUP, tier).as_str(), 1));
    depot.stack.topics(&depot.namespace, &specs).await
}

#[tokio::test]
async fn key_shared_keeps_each_key_in_order_and_eight_of_them_side_by_side_on_one_partition() {
    const KEYS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let mut depot = Depot::open(1).await;
    depot.settings.batch_records_max = 1;
    send_rounds(&depot, &KEYS, 25).await;
    let floor = Floor::default();
    let member = working(&depot, Mode::KeyShared, &floor, |seen| seen.parcel.clone());
    wait_done(&depot, 200).await;
    for key in KEYS {
        assert_eq!(depot.numbers(key), (0..25).collect::<Vec<u32>>(), "{key}");
    }
    let (side_by_side, of_one_key) = floor.most();
    assert_eq!(of_one_key, 1);
    assert!(side_by_side >= 4, "only {side_by_side} ran side by side");
    member.leave().await;
}

#[tokio::test]
async fn failover_handles_one_record_of_a_partition_after_the_other() {
    let mut depot = Depot::open(2).await;
    depot.settings.batch_records_max = 1;
    let parcels: Vec<String> = (0..10).map(|id| format!("p{id}")).collect();
    let parcels: Vec<&str> = parcels.iter().map(String::as_str).collect();
    send_rounds(&depot, &parcels, 10).await;
    let floor = Floor::default();
    let member = working(&depot, Mode::Failover, &floor, |seen| seen.partition.to_string());
    wait_done(&depot, 100).await;
    for partition in 0..2 {
        let offsets: Vec<i64> = depot
            .done()
            .iter()
            .filter(|seen| seen.partition == partition)
            .map(|seen| seen.offset)
            .collect();
        assert!(offsets.is_sorted(), "partition {partition}: {offsets:?}");
    }
    assert_eq!(floor.most(), (2, 1), "the partitions side by side, each one by one");
    member.leave().await;
}

#[tokio::test]
async fn shared_hands_records_of_one_key_over_side_by_side() {
    let mut depot = Depot::open(1).await;
    depot.settings.batch_records_max = 1;
    let _tiers = retry_topics(&depot).await;
    send_rounds(&depot, &["p"], 50).await;
    let floor = Floor::default();
    let member = working(&depot, Mode::Shared, &floor, |seen| seen.parcel.clone());
    wait_done(&depot, 50).await;
    assert!(floor.most().1 >= 4, "{:?}", floor.most());
    wait_until("all is committed", SOON, || async { depot.committed(0).await == Some(50) }).await;
    member.leave().await;
}

#[tokio::test]
async fn two_members_share_and_nothing_is_lost_when_one_leaves_under_both_protocols() {
    for protocol in PROTOCOLS {
        let mut depot = Depot::open(4).await;
        depot.settings.group_protocol = protocol;
        let parcels: Vec<String> = (0..16).map(|id| format!("p{id}")).collect();
        let parcels: Vec<&str> = parcels.iter().map(String::as_str).collect();
        let floor = Floor::default();
        let start = || working(&depot, Mode::KeyShared, &floor, |seen| seen.parcel.clone());
        let first = start();
        wait_owned(&first, 4).await;
        let second = start();
        wait_owned(&second, 2).await;
        wait_owned(&first, 2).await;
        send_rounds(&depot, &parcels, 10).await;
        wait_until("work has begun", SOON, || async { depot.done().len() > 20 }).await;
        first.leave().await;
        wait_owned(&second, 4).await;
        wait_done(&depot, 160).await;
        for parcel in &parcels {
            assert_eq!(
                depot.numbers(parcel),
                (0..10).collect::<Vec<u32>>(),
                "{protocol:?} {parcel}"
            );
        }
        second.leave().await;
    }
}

#[tokio::test]
async fn a_member_that_stops_before_it_took_its_partitions_leaves_its_group() {
    let stack: &'static Stack = Box::leak(Box::new(Stack::private().await.unwrap()));
    let slow = stack.kafka_proxy();
    for protocol in PROTOCOLS {
        let namespace = stack.namespace();
        let topics = stack.topics(&namespace, &[TopicSpec::new(TOPIC.as_str(), 2)]).await;
        let mut depot = Depot::closed(stack, namespace);
        depot.settings.group_protocol = protocol;
        depot.settings.brokers = slow.address();
        // It asks for its offsets long after it was told its partitions.
        slow.delay(Duration::from_millis(100));
        let group = format!("{GROUP}{}", depot.namespace.group_suffix);
        let members = || async {
            let group = stack.access().group(&group).await;
            group.map_or(Vec::new(), |group| group.members)
        };
        let member = depot.member(|_| async { Ok(()) });
        wait_until("the broker has given it partitions", SOON, || async {
            let members = members().await;
            members.iter().any(|member| !member.assigned.is_empty())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(owned(&member), 0, "{protocol:?}: it is still about to take them");
        let asked = std::time::Instant::now();
        member.leave().await;
        assert!(asked.elapsed() < Duration::from_secs(4), "{protocol:?}: {:?}", asked.elapsed());
        wait_until("nobody is left", Duration::from_secs(3), || async {
            let members = members().await;
            if members.is_empty() { Ok(()) } else { Err(members) }
        })
        .await;
        slow.pass();
        drop(topics);
    }
}

#[tokio::test]
async fn a_stop_at_any_point_of_joining_is_bounded() {
    let mut depot = Depot::open(2).await;
    // A member that is stopped while the coordinator holds its request can't tell it, and is missed by the next one
    // until its session ends.
    depot.settings.session_timeout = Duration::from_secs(1);
    depot.settings.heartbeat_interval = Duration::from_millis(300);
    depot.settings.revoke_timeout = Duration::from_millis(500);
    depot.settings.close_timeout = Duration::from_secs(2);
    for wait_ms in [0, 20, 40, 60, 80, 120, 300] {
        let member = depot.member(|_| async { Ok(()) });
        // The point in its life at which it is stopped is what is under test.
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        let asked = std::time::Instant::now();
        member.leave().await;
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(4), "after {wait_ms} ms: {took:?}");
    }
    depot.send(&[("p", 0)]).await;
    let member = depot.member(|_| async { Ok(()) });
    wait_done(&depot, 1).await;
    member.leave().await;
}

#[tokio::test]
async fn a_static_member_that_restarts_keeps_its_partitions_and_disturbs_nobody() {
    let mut depot = Depot::open(4).await;
    depot.settings.instance_id = "belt-1".to_owned();
    let first = depot.member(|_| async { Ok(()) });
    depot.settings.instance_id = "belt-2".to_owned();
    let second = depot.member(|_| async { Ok(()) });
    wait_owned(&first, 2).await;
    wait_owned(&second, 2).await;
    let mut events = second.handle.events();
    first.leave().await;
    depot.settings.instance_id = "belt-1".to_owned();
    let first = depot.member(|_| async { Ok(()) });
    wait_owned(&first, 2).await;
    depot.ids_by_partition(4).await;
    wait_until("all partitions are read", SOON, || async {
        let partitions: std::collections::BTreeSet<i32> =
            depot.done().iter().map(|seen| seen.partition).collect();
        partitions.len() == 4
    })
    .await;
    assert_eq!(told(&mut events), [], "the other one noticed");
    first.leave().await;
    second.leave().await;
}

#[tokio::test]
async fn the_latest_of_two_exclusive_processes_works_and_the_first_takes_over_again() {
    let mut depot = Depot::open(2).await;
    depot.settings.session_timeout = Duration::from_secs(2);
    depot.settings.revoke_timeout = Duration::from_secs(1);
    let mode = Mode::Exclusive { instance_id: "the-belt".to_owned() };
    let first = depot.member_in(mode.clone(), |_| async { Ok(()) });
    wait_owned(&first, 2).await;
    let mut of_first = first.handle.events();
    let second = depot.member_in(mode, |_| async { Ok(()) });
    wait_owned(&second, 2).await;
    wait_until("the first knows", SOON, || {
        let fenced = told(&mut of_first).contains(&ConsumerEvent::Fenced);
        async move { fenced }
    })
    .await;
    let mut of_second = second.handle.events();
    depot.send(&[("p", 1)]).await;
    wait_until("the second works", SOON, || async { depot.numbers("p") == [1] }).await;
    let reason = first.handle.health().reason.unwrap_or_default();
    assert!(reason.contains("fenced") || reason.contains("instance"), "{reason}");
    assert_eq!(owned(&first), 0);
    assert_eq!(told(&mut of_second), [], "no ping-pong");
    second.leave().await;
    wait_owned(&first, 2).await;
    depot.send(&[("p", 2)]).await;
    wait_until("the first works", SOON, || async { depot.numbers("p") == [1, 2] }).await;
    first.leave().await;
}

#[tokio::test]
async fn an_exclusive_process_waits_until_the_broker_releases_its_id() {
    let mut depot = Depot::open(2).await;
    depot.settings.group_protocol = GroupProtocol::Consumer;
    let mode = Mode::Exclusive { instance_id: "the-belt".to_owned() };
    let first = depot.member_in(mode.clone(), |_| async { Ok(()) });
    wait_owned(&first, 2).await;
    let mut of_first = first.handle.events();
    let second = depot.member_in(mode, |_| async { Ok(()) });
    let reason = wait_until("the second tells why it waits", SOON, || async {
        second.handle.health().reason
    })
    .await;
    assert!(reason.contains("instance"), "{reason}");
    depot.send(&[("p", 1)]).await;
    wait_until("the first works", SOON, || async { depot.numbers("p") == [1] }).await;
    assert_eq!((owned(&second), told(&mut of_first)), (0, Vec::new()), "the first is undisturbed");
    first.leave().await;
    wait_owned(&second, 2).await;
    assert_eq!(second.handle.health().reason, None);
    depot.send(&[("p", 2)]).await;
    wait_until("the second works", SOON, || async { depot.numbers("p") == [1, 2] }).await;
    second.leave().await;
}
