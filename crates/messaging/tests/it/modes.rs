//! What each mode promises about order, side-by-side work and who owns what, under both rebalance protocols.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millrace_envelope::ConsumerGroup;
use millrace_messaging::{Consumer, ConsumerEvent, GroupProtocol, Mode};
use millrace_testkit::{Stack, TestTopics, TopicSpec, wait_until};
use tokio::sync::Semaphore;

use crate::harness::{Depot, GROUP, Member, SOON, Script, Seen, TOPIC, told};

const PROTOCOLS: [GroupProtocol; 2] = [GroupProtocol::Classic, GroupProtocol::Consumer];

/// Counts who runs beside whom, and holds all who begin until so many are there.
#[derive(Debug, Clone)]
struct Floor {
    counts: Arc<Mutex<Counts>>,
    wanted: usize,
    /// Closed for good when so many are there: who waits goes on.
    gate: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Counts {
    running: BTreeMap<String, usize>,
    /// Side by side, over all and in one lane, at most.
    most: usize,
    most_in_lane: usize,
}

impl Floor {
    fn of(wanted: usize) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        Self { counts: Arc::default(), wanted, gate }
    }

    /// One call, in its lane.
    async fn work(&self, lane: &str) {
        self.begin(lane);
        // An error says that the gate is open.
        drop(self.gate.acquire().await);
        // Long enough for another one to be begun beside it by mistake.
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.end(lane);
    }

    fn begin(&self, lane: &str) {
        let mut counts = self.counts.lock().unwrap();
        let in_lane = counts.running.entry(lane.to_owned()).or_default();
        *in_lane += 1;
        let in_lane = *in_lane;
        counts.most_in_lane = counts.most_in_lane.max(in_lane);
        counts.most = counts.most.max(counts.running.values().sum());
        if counts.most >= self.wanted {
            self.gate.close();
        }
    }

    fn end(&self, lane: &str) {
        *self.counts.lock().unwrap().running.get_mut(lane).unwrap() -= 1;
    }

    fn most(&self) -> (usize, usize) {
        let counts = self.counts.lock().unwrap();
        (counts.most, counts.most_in_lane)
    }

    async fn full(&self) {
        wait_until("so many run side by side", SOON, || async {
            let most = self.most();
            if self.gate.is_closed() { Ok(()) } else { Err(most) }
        })
        .await;
    }
}

fn working(depot: &Depot, mode: Mode, floor: &Floor, lane: fn(&Seen) -> String) -> Member {
    let floor = floor.clone();
    depot.member_in(mode, move |seen| {
        let (floor, lane) = (floor.clone(), lane(&seen[0]));
        async move {
            floor.work(&lane).await;
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
    let floor = Floor::of(KEYS.len());
    let member = working(&depot, Mode::KeyShared, &floor, |seen| seen.parcel.clone());
    floor.full().await;
    wait_done(&depot, 200).await;
    for key in KEYS {
        assert_eq!(depot.numbers(key), (0..25).collect::<Vec<u32>>(), "{key}");
    }
    assert_eq!(floor.most(), (8, 1), "the keys side by side, each one by one");
    member.leave().await;
}

#[tokio::test]
async fn failover_handles_one_record_of_a_partition_after_the_other() {
    let mut depot = Depot::open(2).await;
    depot.settings.batch_records_max = 1;
    let parcels: Vec<String> = (0..10).map(|id| format!("p{id}")).collect();
    let parcels: Vec<&str> = parcels.iter().map(String::as_str).collect();
    send_rounds(&depot, &parcels, 10).await;
    let floor = Floor::of(2);
    let member = working(&depot, Mode::Failover, &floor, |seen| seen.partition.to_string());
    floor.full().await;
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
    let floor = Floor::of(8);
    let member = working(&depot, Mode::Shared, &floor, |seen| seen.parcel.clone());
    floor.full().await;
    wait_done(&depot, 50).await;
    assert!(floor.most().1 >= 8, "{:?}", floor.most());
    wait_until("all is committed", SOON, || async { depot.committed(0).await == Some(50) }).await;
    member.leave().await;
}

#[tokio::test]
async fn two_members_share_and_nothing_is_lost_when_one_leaves_under_both_protocols() {
    for protocol in PROTOCOLS {
        let mut depot = Depot::open(4).await;
        depot.settings.group_protocol = protocol;
        // Who leaves finishes what it has in hand, on a machine that stands still for a while, too.
        depot.settings.revoke_timeout = Duration::from_secs(5);
        let parcels: Vec<String> = (0..16).map(|id| format!("p{id}")).collect();
        let parcels: Vec<&str> = parcels.iter().map(String::as_str).collect();
        let floor = Floor::of(1);
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

/// A group whose counters nobody else moves.
const LATE: ConsumerGroup = ConsumerGroup::from_static("depot.late");

/// How often a member of that group was told its partitions.
fn told_partitions() -> f64 {
    let text = millrace_telemetry::metrics::render();
    let lines = text.lines().filter(|line| {
        line.starts_with("messaging_rebalances_total{")
            && line.contains(LATE.as_str())
            && line.contains("assigned")
    });
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Stops a member between being told its partitions and taking them, and sees it leave. False when it was too late.
async fn leaves_before_it_took(stack: &'static Stack, protocol: GroupProtocol) -> bool {
    let namespace = stack.namespace();
    let topics = stack.topics(&namespace, &[TopicSpec::new(TOPIC.as_str(), 2)]).await;
    let mut depot = Depot::closed(stack, namespace);
    depot.settings.group_protocol = protocol;
    depot.settings.brokers = stack.kafka_proxy().address();
    depot.settings.close_timeout = SOON;
    // So that its end is no explanation for an empty group.
    depot.settings.session_timeout = SOON / 4;
    let group = format!("{LATE}{}", depot.namespace.group_suffix);
    let session = [("consumer.session.timeout.ms", "10000")];
    stack.access().set_group_settings(&group, &session).await.unwrap();
    // A member that joins at a coordinator in the making may be counted twice, and is waited for until its session ends.
    assert_eq!(depot.committed(0).await, None);
    let before = told_partitions();
    let handler = Script { done: Arc::clone(&depot.done), act: |_| async { Ok(()) } };
    let member = depot.start(Consumer::new(LATE, TOPIC, handler));
    let mut events = member.handle.events();
    wait_until("it is told its partitions", SOON, || async { told_partitions() > before }).await;
    let asked = Instant::now();
    member.leave().await;
    assert!(asked.elapsed() < SOON / 4, "{protocol:?}: {:?}", asked.elapsed());
    wait_until("nobody is left", SOON / 5, || async {
        let group = stack.access().group(&group).await;
        let members = group.map_or(Vec::new(), |group| group.members);
        if members.is_empty() { Ok(()) } else { Err(members) }
    })
    .await;
    drop(topics);
    told(&mut events).is_empty()
}

#[tokio::test]
async fn a_member_that_stops_before_it_took_its_partitions_leaves_its_group() {
    let stack: &'static Stack = Box::leak(Box::new(Stack::private().await.unwrap()));
    for protocol in PROTOCOLS {
        // It takes its partitions when it has asked for their offsets, and so later than it was told by two delays.
        let mut delay = Duration::from_millis(100);
        loop {
            stack.kafka_proxy().delay(delay);
            if leaves_before_it_took(stack, protocol).await {
                break;
            }
            delay *= 2;
            assert!(delay < Duration::from_secs(1), "{protocol:?}: it was always too late");
        }
        stack.kafka_proxy().pass();
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
        let asked = Instant::now();
        member.leave().await;
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(15), "after {wait_ms} ms: {took:?}");
    }
    depot.send(&[("p", 0)]).await;
    let member = depot.member(|_| async { Ok(()) });
    wait_until("the next one works", SOON, || async { depot.numbers("p").contains(&0) }).await;
    member.leave().await;
}

#[tokio::test]
async fn a_static_member_that_restarts_keeps_its_partitions_and_disturbs_nobody() {
    let mut depot = Depot::open(4).await;
    // It is back before its session ends, however slow the machine is.
    depot.settings.session_timeout = SOON;
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
    // The first one waits for the end of the second one's session, and nobody may be put out on a slow machine.
    depot.settings.session_timeout = Duration::from_secs(5);
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
    wait_until("the first owns nothing and says why", SOON, || async {
        let reason = first.handle.health().reason.unwrap_or_default();
        let says_why = reason.contains("fenced") || reason.contains("instance");
        if says_why && owned(&first) == 0 { Ok(()) } else { Err((reason, owned(&first))) }
    })
    .await;
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
    wait_until("nothing is said any more", SOON, || async {
        second.handle.health().reason.is_none()
    })
    .await;
    depot.send(&[("p", 2)]).await;
    wait_until("the second works", SOON, || async { depot.numbers("p") == [1, 2] }).await;
    second.leave().await;
}
