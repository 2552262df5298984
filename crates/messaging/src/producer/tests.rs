//! The end of a client and what comes after it, on a real broker. Here and not beside the other tests on a broker,
//! because only the crate itself can end its client on purpose.

use std::sync::Mutex;
use std::time::Instant;

use millrace_envelope::TopicName;
use millrace_runtime::Tasks;
use millrace_runtime::settings::{Layers, Problems, Validate, load};
use millrace_testkit::{Stack, TestTopics, TopicSpec, wait_until};
use serde::Deserialize;

use super::queue::{OverflowPolicy, ProducerQueue, QueueOptions};
use super::*;

const TOPIC: TopicName = TopicName::from_static("parcel-marks");
const SOON: Duration = Duration::from_secs(15);
/// Long enough that what is sent is still in the client when that ends.
const LINGER: &str = "5s";

#[derive(Deserialize)]
struct Section {
    kafka: KafkaSettings,
}

impl Validate for Section {
    fn validate(&self, problems: &mut Problems) {
        self.kafka.validate(problems);
    }
}

async fn open(linger: &str) -> (&'static Stack, String, KafkaSettings, TestTopics) {
    let stack = Stack::shared().await;
    let namespace = stack.namespace();
    let topics = stack.topics(&namespace, &[TopicSpec::new(TOPIC.as_str(), 1)]).await;
    let environment = [
        ("BROKERS", stack.brokers()),
        ("TOPIC_PREFIX", namespace.topic_prefix.clone()),
        ("LINGER", linger.to_owned()),
        ("PUBLISH_TIMEOUT", "2m".to_owned()),
    ];
    let environment = environment.map(|(key, value)| (format!("T__KAFKA__{key}"), value));
    let layers = Layers {
        defaults: vec![crate::DEFAULTS],
        overlay: None,
        prefix: "T",
        environment: environment.into(),
    };
    let section = load::<Section>(&layers).unwrap_or_else(|problems| panic!("{problems}"));
    (stack, namespace.topic(TOPIC.as_str()), section.kafka, topics)
}

fn record(number: u32) -> EncodedRecord {
    EncodedRecord {
        topic: TOPIC,
        key: b"p".to_vec(),
        payload: Some(number.to_string().into_bytes()),
        headers: Vec::new(),
        timestamp_ms: None,
    }
}

fn rebuilds() -> u64 {
    millrace_telemetry::metrics::counter_vec("messaging_producer_rebuilds_total", "", &["client"])
        .with_label_values(&["durable producer"])
        .get()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_ends_fatally_fails_what_it_held_to_its_owners_and_is_replaced() {
    let (stack, topic, settings, _topics) = open(LINGER).await;
    let producer = Producer::new(&settings, ProducerProfile::Durable).unwrap();
    let (returned, tasks) = (Arc::new(Mutex::new(Vec::new())), Tasks::new());
    let to = Arc::clone(&returned);
    let options = QueueOptions::new("marks", OverflowPolicy::Error, &settings);
    let queue =
        ProducerQueue::start(&producer, options, move |u| to.lock().unwrap().push(u)).unwrap();
    for number in 0..50 {
        queue.offer(record(number)).unwrap();
    }
    let fates = Arc::new(Mutex::new(Vec::new()));
    let (caller, answers) = (producer.clone(), Arc::clone(&fates));
    tasks.spawn("caller", async move {
        let records: Vec<_> = (50..100).map(record).collect();
        *answers.lock().unwrap() = caller.publish_all(&records).await;
    });
    wait_until("the client holds all", SOON, || async { producer.0.instance.held() == 100 }).await;
    let (before, asked) = (rebuilds(), Instant::now());
    producer.0.instance.end_fatally();
    wait_until("the caller is told", SOON, || async { !fates.lock().unwrap().is_empty() }).await;
    wait_until("the queue's owner is told", SOON, || async {
        returned.lock().unwrap().len() == 50
    })
    .await;
    assert!(asked.elapsed() < Duration::from_secs(10), "no time-out had to pass");
    let fates = std::mem::take(&mut *fates.lock().unwrap());
    assert_eq!(fates.len(), 50);
    let lost = |fate: &Result<_, _>| matches!(fate, Err(PublishError::NotAcknowledged { .. }));
    assert!(fates.iter().all(lost), "{fates:?}");
    // At least, because the other test ends clients too.
    wait_until("the rebuild is counted", SOON, || async { rebuilds() > before }).await;
    assert!(stack.records(&topic).await.is_empty());

    queue.offer(record(100)).unwrap();
    let again: Vec<_> = std::mem::take(&mut *returned.lock().unwrap());
    for undelivered in again {
        queue.offer(undelivered.record).unwrap();
    }
    assert!(producer.flush(SOON).await);
    assert!(queue.flush(SOON).await);
    assert_eq!(stack.records(&topic).await.len(), 51);
    assert!(tasks.wait(SOON).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_offered_to_an_ended_client_goes_to_the_fresh_one() {
    let (stack, topic, settings, _topics) = open("0ms").await;
    let producer = Producer::new(&settings, ProducerProfile::Durable).unwrap();
    let options = QueueOptions::new("marks", OverflowPolicy::Error, &settings);
    let queue = ProducerQueue::start(&producer, options, |u| panic!("{u:?}")).unwrap();
    for round in 0..3 {
        producer.publish(&record(round)).await.unwrap();
        producer.0.instance.end_fatally();
        // Nobody may have noticed yet; a queue's record is not lost to that.
        queue.offer(record(round + 100)).unwrap();
        assert!(queue.flush(SOON).await);
        wait_until("an awaited one gets through", SOON, || async {
            producer.publish(&record(round + 200)).await.is_ok()
        })
        .await;
    }
    let counts = queue.counts();
    assert_eq!((counts.delivered, counts.undelivered), (3, 0));
    assert_eq!(stack.records(&topic).await.len(), 9);
}
