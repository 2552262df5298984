//! Every kind of measurement once, small, on real servers and inside the test's process: what is checked here is that
//! each side does what it says and that its books close, not how fast it is.

use std::time::Duration;

use millrace_common::outbox::{self, append};
use millrace_testkit::{Namespace, Stack, TestTopics, TopicSpec};

use crate::job::{Fetch, HandlerKind, Job, Measured, ProducedBy, Ready, Side, Telemetry, Work};
use crate::path::row;
use crate::records::{Form, RecordSet, Spread, TOPIC};
use crate::relay_backlog::arrived;
use crate::settings::Settings;
use crate::target::{broker_topic, measure};
use crate::write::write;

const SET: RecordSet =
    RecordSet { count: 3000, keys: 50, form: Form::Enveloped, spread: Spread::Even, seed: 11 };

/// A topic in a namespace of its own.
struct Place {
    settings: Settings,
    _topics: TestTopics,
}

impl Place {
    async fn new() -> Self {
        let stack = Stack::shared().await;
        let namespace: Namespace = stack.namespace();
        let topics = stack.topics(&namespace, &[TopicSpec::new(TOPIC.as_str(), 3)]).await;
        let values = [
            ("KAFKA__BROKERS", stack.brokers()),
            ("KAFKA__TOPIC_PREFIX", namespace.topic_prefix.clone()),
            ("KAFKA__GROUP_SUFFIX", namespace.group_suffix.clone()),
            ("HTTP__BIND", "127.0.0.1".to_owned()),
            ("HTTP__PORT", "0".to_owned()),
            ("HTTP__ADMIN_PORT", "0".to_owned()),
            ("HTTP__DEADLINE", "20s".to_owned()),
            // A client that the machine keeps from its request for a while is no slow one.
            ("HTTP__HEAD_TIMEOUT", "30s".to_owned()),
        ];
        let values = values.map(|(key, value)| (key.to_owned(), value));
        Self { settings: Settings::read(&values).unwrap(), _topics: topics }
    }

    async fn with(set: &RecordSet) -> Self {
        let place = Self::new().await;
        write(&place.settings.kafka, &broker_topic(&place.settings), set).await.unwrap();
        place
    }

    async fn measure(&self, work: Work) -> Measured {
        let ready = Ready(std::path::PathBuf::from("/dev/null"));
        let measured = measure(&self.settings, work, &ready).await.unwrap();
        assert_eq!(measured.broken, None);
        assert!(measured.messages > 0 && measured.seconds > 0.0, "{measured:?}");
        measured
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bare_and_product_consumers_read_a_set_whole_and_in_order() {
    let raw = RecordSet { form: Form::Raw, ..SET };
    let place = Place::with(&raw).await;
    for fetch in [Fetch::AsProduct, Fetch::AsLibrary] {
        place.measure(Work::ConsumeBare { set: raw, fetch }).await;
    }
    let place = Place::with(&SET).await;
    place.measure(Work::ConsumeBare { set: SET, fetch: Fetch::AsProduct }).await;
    let handler = HandlerKind::NoOp(Form::Enveloped);
    let measured = place.measure(Work::Consume { set: SET, handler, in_flight: 16 }).await;
    assert_eq!(measured.messages, 2700);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sleeping_handler_takes_is_measured() {
    let small = RecordSet { count: 300, ..SET };
    let place = Place::with(&small).await;
    let sleep = Duration::from_millis(1);
    let handler = HandlerKind::Sleep(sleep);
    let measured = place.measure(Work::Consume { set: small, handler, in_flight: 16 }).await;
    assert!(measured.handler_seconds >= 0.001, "{measured:?}");
    let span = Duration::from_millis(200);
    let measured = place.measure(Work::Sleep { in_flight: 16, sleep, span }).await;
    assert!(measured.handler_seconds >= 0.001, "{measured:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_producing_delivers_all_of_it_in_order() {
    use ProducedBy::{Awaited, BareFutures, BareThreaded, Queue};
    for by in [BareThreaded, Queue, BareFutures, Awaited] {
        let place = Place::new().await;
        place.measure(Work::Produce { set: SET, by }).await;
        let topic = broker_topic(&place.settings);
        assert_eq!(arrived(&place.settings, &topic, &SET).await.unwrap(), Ok(()), "{by:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn relay_and_bare_loop_carry_the_outbox_to_its_last_row() {
    for by in [Side::Product, Side::Bare] {
        let place = Place::new().await;
        let database = Stack::shared().await.database("bench", &[&outbox::MIGRATIONS]).await;
        let rows: Vec<_> = SET.numbered().map(|(key, number)| row(key, number).unwrap()).collect();
        let mut connection = database.app_pool().acquire().await.unwrap();
        append(&mut connection, &rows).await.unwrap();
        let database_url = database.app_url();
        place.measure(Work::Relay { set: SET, by, database_url }).await;
    }
}

/// Both sides of a path at a low rate; a latency for each record behind the warm-up.
async fn walk_both_sides(work: impl Fn(u32, Duration, Side, String) -> Work) {
    const RATE: u32 = 200;
    for by in [Side::Product, Side::Bare] {
        let place = Place::new().await;
        let database = Stack::shared().await.database("bench", &[&outbox::MIGRATIONS]).await;
        let work = work(RATE, Duration::from_secs(1), by, database.app_url());
        let measured = place.measure(work).await;
        assert_eq!(measured.messages, u64::from(RATE), "{by:?}");
        assert_eq!(measured.latencies_ms.len(), RATE as usize, "{by:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_row_arrives_at_the_consumer_with_its_latency() {
    walk_both_sides(|rate, span, by, database_url| Work::CommitToConsumer {
        rate,
        span,
        by,
        database_url,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_arrives_at_the_handler_with_its_latency() {
    walk_both_sides(|rate, span, by, database_url| Work::HttpToHandler {
        rate,
        span,
        by,
        database_url,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_goes_on_when_a_second_member_joins() {
    let set = RecordSet { count: 8000, ..SET };
    let place = Place::new().await;
    let ready = Ready(std::path::PathBuf::from("/dev/null"));
    let interval = Duration::from_millis(1);
    let work = Work::SecondMember { set, interval };
    let measured = measure(&place.settings, work, &ready).await.unwrap();
    assert_eq!(measured.broken, None);
    assert!(!measured.latencies_ms.is_empty() && measured.latencies_ms.len() < 3, "{measured:?}");
}

#[test]
fn a_job_survives_its_way_through_a_file() {
    let work = Work::Consume { set: SET, handler: HandlerKind::NoOp(Form::Raw), in_flight: 7 };
    let job = Job { settings: vec![("A".into(), "b".into())], telemetry: Telemetry::On, work };
    let text = serde_json::to_string(&job).unwrap();
    let read: Job = serde_json::from_str(&text).unwrap();
    assert_eq!(format!("{read:?}"), format!("{job:?}"));
}
