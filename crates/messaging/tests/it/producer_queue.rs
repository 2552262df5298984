//! Records that nobody waits for, and what becomes of each of them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millrace_envelope::{EncodedRecord, TopicName};
use millrace_messaging::{
    KafkaSettings, OverflowPolicy, Producer, ProducerProfile, ProducerQueue, QueueCounts,
    QueueOptions, Refusal, Undelivered,
};
use millrace_testkit::{Namespace, Stack, TopicSpec, wait_until};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{SOON, settings};

const TOPIC: TopicName = TopicName::from_static("parcel-marks");

type Returned = Arc<Mutex<Vec<Undelivered>>>;

fn record(key: &str, number: u32) -> EncodedRecord {
    EncodedRecord {
        topic: TOPIC,
        key: key.as_bytes().to_vec(),
        payload: Some(format!("{key}/{number}").into_bytes()),
        headers: vec![("mark".into(), b"1".to_vec())],
        // Now, because the broker's retention goes by it.
        timestamp_ms: Some(millrace_runtime::Clock::system().now_ms()),
    }
}

fn text(record: &EncodedRecord) -> String {
    String::from_utf8(record.payload.clone().unwrap()).unwrap()
}

fn options(overflow: OverflowPolicy) -> QueueOptions {
    let name = "marks";
    QueueOptions { name, overflow, records_max: 3, bytes_max: 10_000, in_flight_max: 2 }
}

fn start(producer: &Producer, options: QueueOptions) -> (ProducerQueue, Returned) {
    let returned = Returned::default();
    let to = Arc::clone(&returned);
    let owner = move |undelivered| to.lock().unwrap().push(undelivered);
    (ProducerQueue::start(producer, options, owner).unwrap(), returned)
}

fn assert_adds_up(counts: QueueCounts) {
    let QueueCounts { accepted, delivered, undelivered, dropped, left, waiting, in_flight, .. } =
        counts;
    let known = delivered + undelivered + dropped + left + waiting + in_flight;
    assert_eq!(accepted, known, "{counts:?}");
}

/// Settings of a producer whose records all arrive, however busy the machine is.
fn patient(stack: &Stack, namespace: &Namespace) -> KafkaSettings {
    KafkaSettings { publish_timeout: SOON, ..settings(stack, namespace) }
}

/// Settings of a producer whose brokers are nowhere.
async fn nowhere() -> KafkaSettings {
    let stack = Stack::shared().await;
    let mut settings = settings(stack, &stack.namespace());
    settings.brokers = "127.0.0.1:9".into();
    // What the client has stays with it for as long as the test lasts.
    settings.publish_timeout = SOON * 2;
    settings
}

/// A queue whose client already has as many records as it may, so that whatever comes now waits.
async fn stuffed(producer: &Producer, overflow: OverflowPolicy) -> (ProducerQueue, Returned) {
    let (queue, returned) = start(producer, options(overflow));
    for number in 0..2 {
        queue.offer(record(&format!("first{number}"), number)).unwrap();
    }
    wait_until("the client has them", SOON, || async { queue.counts().in_flight == 2 }).await;
    (queue, returned)
}

#[tokio::test]
async fn a_full_queue_does_what_its_policy_says() {
    let settings = nowhere().await;
    let producer = Producer::new(&settings, ProducerProfile::Durable).unwrap();
    let block = OverflowPolicy::Block { deadline: Duration::from_millis(50) };
    let cases: [(OverflowPolicy, &[&str], u64, u64); 5] = [
        (OverflowPolicy::Error, &["a/0", "b/1", "a/2"], 3, 0),
        (OverflowPolicy::DropNewest, &["a/0", "b/1", "a/2"], 0, 3),
        (OverflowPolicy::DropOldest, &["b/3", "a/4", "b/5"], 0, 3),
        (OverflowPolicy::LatestPerKey, &["a/4", "b/5"], 0, 4),
        (block, &["a/0", "b/1", "a/2"], 3, 0),
    ];
    for (overflow, expected, refused, dropped) in cases {
        let (queue, _returned) = stuffed(&producer, overflow).await;
        for number in 0..6 {
            let key = if number % 2 == 0 { "a" } else { "b" };
            let offered = queue.offer(record(key, number));
            if let Err(refused) = offered {
                assert_eq!(refused.reason, Refusal::Full);
                assert_eq!(text(&refused.record), format!("{key}/{number}"));
            }
        }
        let counts = queue.counts();
        assert_adds_up(counts);
        assert_eq!((counts.refused, counts.dropped), (refused, dropped), "{overflow:?}");
        let left = queue.close(Duration::ZERO).await;
        let waiting: Vec<String> = left.records.iter().map(text).collect();
        assert_eq!(waiting, expected, "{overflow:?}");
        assert_eq!(left.in_flight, 2);
        let late = queue.offer(record("late", 0)).unwrap_err();
        assert_eq!(late.reason, Refusal::Closed);
        assert_adds_up(queue.counts());
    }
}

#[tokio::test]
async fn who_blocks_waits_for_room_and_no_longer_than_agreed() {
    let stack = Stack::shared().await;
    let namespace = stack.namespace();
    let _topics = stack.topics(&namespace, &[TopicSpec::new(TOPIC.as_str(), 1)]).await;
    let overflow = OverflowPolicy::Block { deadline: SOON };
    let producer = Producer::new(&patient(stack, &namespace), ProducerProfile::Durable).unwrap();
    let (queue, _returned) = start(&producer, options(overflow));
    for number in 0..300 {
        queue.offer_within(record("p", number), SOON).await.unwrap();
    }
    assert!(queue.flush(SOON).await);
    let stored = stack.records(&namespace.topic(TOPIC.as_str())).await;
    let stored: Vec<String> =
        stored.into_iter().map(|r| String::from_utf8(r.payload.unwrap()).unwrap()).collect();
    assert_eq!(stored, (0..300).map(|number| format!("p/{number}")).collect::<Vec<_>>());

    let producer = Producer::new(&nowhere().await, ProducerProfile::Durable).unwrap();
    let longest = Duration::from_millis(100);
    let (queue, _returned) = stuffed(&producer, OverflowPolicy::Block { deadline: longest }).await;
    for number in 0..3 {
        queue.offer_within(record("p", number), SOON).await.unwrap();
    }
    let asked = Instant::now();
    let refused = queue.offer_within(record("p", 3), SOON).await.unwrap_err();
    assert_eq!((refused.reason, text(&refused.record)), (Refusal::Full, "p/3".into()));
    assert!(asked.elapsed() >= longest && asked.elapsed() < SOON / 2, "not the caller's own limit");
    assert_adds_up(queue.counts());
}

#[tokio::test]
async fn a_flush_and_a_close_keep_to_their_budget_and_fates_come_later_all_the_same() {
    let mut settings = nowhere().await;
    settings.publish_timeout = Duration::from_secs(5);
    let producer = Producer::new(&settings, ProducerProfile::Durable).unwrap();
    let (queue, returned) = stuffed(&producer, OverflowPolicy::Error).await;
    queue.offer(record("waits", 2)).unwrap();
    let asked = Instant::now();
    assert!(!queue.flush(Duration::from_millis(100)).await);
    let left = queue.close(Duration::from_millis(100)).await;
    assert!(asked.elapsed() < settings.publish_timeout - Duration::from_millis(500));
    assert_eq!((left.records.len(), left.in_flight), (1, 2));
    wait_until("the time-out is told", SOON, || async { returned.lock().unwrap().len() == 2 })
        .await;
    assert!(queue.flush(SOON).await);
    let counts = queue.counts();
    assert_adds_up(counts);
    assert_eq!((counts.undelivered, counts.left, counts.in_flight), (2, 1, 0));
}

#[tokio::test]
async fn what_is_not_delivered_comes_back_byte_for_byte() {
    let stack = Stack::shared().await;
    let namespace = stack.namespace();
    let mut settings = settings(stack, &namespace);
    settings.publish_timeout = Duration::from_millis(500);
    let producer = Producer::new(&settings, ProducerProfile::Durable).unwrap();
    // Nobody made the topic.
    let (queue, returned) = start(&producer, options(OverflowPolicy::Error));
    let mut offered = [record("p", 0), record("", 1), record("\u{e4}", 2)];
    offered[0].headers.push(("mark".into(), b"\xff\x00".to_vec()));
    offered[1].payload = None;
    offered[2].headers.clear();
    offered[2].timestamp_ms = None;
    for record in &offered {
        queue.offer(record.clone()).unwrap();
    }
    assert!(queue.flush(SOON).await);
    let returned = returned.lock().unwrap();
    let records: Vec<&EncodedRecord> = returned.iter().map(|back| &back.record).collect();
    assert_eq!(records, offered.iter().collect::<Vec<_>>());
    let mut large = record("p", 3);
    large.payload = Some(vec![b'x'; 2 * 1024 * 1024]);
    assert_eq!(queue.offer(large).unwrap_err().reason, Refusal::TooLarge);
}

#[tokio::test]
async fn a_queue_that_is_closed_or_dropped_with_its_producer_loses_nothing() {
    let stack = Stack::shared().await;
    let namespace = stack.namespace();
    let _topics = stack.topics(&namespace, &[TopicSpec::new(TOPIC.as_str(), 1)]).await;
    let topic = namespace.topic(TOPIC.as_str());
    let mut options = options(OverflowPolicy::Error);
    (options.records_max, options.in_flight_max) = (100, 100);
    for round in 0..10 {
        let producer = Producer::new(&patient(stack, &namespace), ProducerProfile::Bulk).unwrap();
        let (queue, returned) = start(&producer, options.clone());
        for number in 0..50 {
            queue.offer(record(&round.to_string(), number)).unwrap();
        }
        drop(producer);
        if round % 2 == 0 {
            let left = queue.close(SOON).await;
            assert_eq!((left.records.len(), left.in_flight), (0, 0));
        }
        drop(queue);
        wait_until("all arrive", SOON, || async {
            stack.records(&topic).await.len() == (round + 1) * 50
        })
        .await;
        assert!(returned.lock().unwrap().is_empty(), "{returned:?}");
    }
    let mut settings = nowhere().await;
    settings.publish_timeout = Duration::from_secs(1);
    let producer = Producer::new(&settings, ProducerProfile::Durable).unwrap();
    let (queue, returned) = start(&producer, options);
    for number in 0..50 {
        queue.offer(record("p", number)).unwrap();
    }
    drop((producer, queue));
    wait_until("all are back", SOON, || async { returned.lock().unwrap().len() == 50 }).await;
}

/// Offers until told to stop; gives the texts of what was accepted.
async fn load(
    queue: ProducerQueue,
    key: String,
    mut random: StdRng,
    stop: Arc<AtomicBool>,
) -> BTreeSet<String> {
    let mut accepted = BTreeSet::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let record = record(&format!("{key}{}", random.random_range(0..5)), number);
        let name = text(&record);
        let offered = match random.random_bool(0.5) {
            true => queue.offer(record),
            false => queue.offer_within(record, Duration::from_millis(20)).await,
        };
        if offered.is_ok() {
            accepted.insert(name);
        }
        if random.random_bool(0.05) {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..5))).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    accepted
}

const POLICIES: [OverflowPolicy; 5] = [
    OverflowPolicy::Block { deadline: Duration::from_millis(10) },
    OverflowPolicy::DropNewest,
    OverflowPolicy::DropOldest,
    OverflowPolicy::Error,
    OverflowPolicy::LatestPerKey,
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_vanishes_while_the_broker_is_killed_and_comes_back() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let stack: &'static Stack = Box::leak(Box::new(Stack::private().await.unwrap()));
    let namespace = stack.namespace();
    let topics = stack.topics(&namespace, &[TopicSpec::new(TOPIC.as_str(), 2)]).await;
    let mut settings = settings(stack, &namespace);
    settings.publish_timeout = Duration::from_secs(1);
    let stop = Arc::new(AtomicBool::new(false));
    let mut queues = Vec::new();
    for overflow in POLICIES {
        let profile = match random.random_bool(0.5) {
            true => ProducerProfile::Durable,
            false => ProducerProfile::Bulk,
        };
        let producer = Producer::new(&settings, profile).unwrap();
        let bounds = (random.random_range(1..200), random.random_range(1..500));
        let options =
            QueueOptions { records_max: bounds.0, in_flight_max: bounds.1, ..options(overflow) };
        let (queue, returned) = start(&producer, options);
        let mut loads = tokio::task::JoinSet::new();
        for publisher in ["x", "y"] {
            let random = StdRng::seed_from_u64(random.random());
            let key = format!("{}-{publisher}", queues.len());
            loads.spawn(load(queue.clone(), key, random, Arc::clone(&stop)));
        }
        queues.push((queue, returned, loads));
    }
    let watched: Vec<ProducerQueue> = queues.iter().map(|(queue, ..)| queue.clone()).collect();
    let watch = |what: &'static str, reached: fn(&QueueCounts) -> bool| {
        let watched = watched.clone();
        wait_until(what, SOON, move || {
            let all: Vec<QueueCounts> = watched.iter().map(ProducerQueue::counts).collect();
            all.iter().copied().for_each(assert_adds_up);
            let reached = all.iter().all(reached);
            async move { reached }
        })
    };
    watch("all deliver", |counts| counts.delivered > 100).await;
    stack.kafka().kill();
    watch("all lose some", |counts| counts.undelivered > 0).await;
    stack.kafka().start().await.unwrap();
    let before: u64 = watched.iter().map(|queue| queue.counts().delivered).sum();
    wait_until("they deliver again", SOON, || async {
        watched.iter().map(|queue| queue.counts().delivered).sum::<u64>() > before + 100
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    let mut accepted = Vec::new();
    for (queue, _, loads) in &mut queues {
        let mut of_queue = BTreeSet::new();
        while let Some(texts) = loads.join_next().await {
            of_queue.extend(texts.unwrap());
        }
        assert!(queue.flush(SOON).await, "{:?}", queue.counts());
        accepted.push(of_queue);
    }
    let stored = stack.records(&namespace.topic(TOPIC.as_str())).await;
    let stored: BTreeSet<String> =
        stored.into_iter().map(|r| String::from_utf8(r.payload.unwrap()).unwrap()).collect();
    for ((queue, returned, _), accepted) in queues.iter().zip(&accepted) {
        assert_nothing_vanished(queue.counts(), accepted, &returned.lock().unwrap(), &stored);
    }
    assert_page_adds_up();
    drop(topics);
}

/// Each record is on the broker, or came back, or is among those that the policy dropped.
fn assert_nothing_vanished(
    counts: QueueCounts,
    accepted: &BTreeSet<String>,
    returned: &[Undelivered],
    stored: &BTreeSet<String>,
) {
    assert_adds_up(counts);
    assert_eq!(counts.accepted, accepted.len() as u64);
    let back: BTreeSet<String> = returned.iter().map(|back| text(&back.record)).collect();
    assert_eq!(counts.undelivered, back.len() as u64, "each came back once");
    assert!(back.is_subset(accepted));
    let gone = accepted.iter().filter(|text| !stored.contains(*text) && !back.contains(*text));
    assert_eq!(gone.count() as u64, counts.dropped, "what is missing was dropped: {counts:?}");
}

/// What is scraped comes from one reading as well; queues of one name are one series.
fn assert_page_adds_up() {
    let page = millrace_telemetry::metrics::render();
    let sum = |name: &str| -> u64 {
        let lines = page.lines().filter(|line| {
            line.starts_with(&format!("messaging_producer_queue_{name}{{"))
                && line.contains(r#"queue="marks""#)
        });
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    let known = ["delivered_total", "undelivered_total", "dropped_total", "left_total"];
    let known = known.into_iter().chain(["records", "in_flight"]).map(sum).sum::<u64>();
    assert!(sum("accepted_total") > 0, "{page}");
    assert_eq!(sum("accepted_total"), known, "{page}");
}
