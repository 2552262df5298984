//! Records on their way to a real broker, one that is away, and through a stop; the accounts balance each time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::LazyLock;
use std::time::Duration;

use millrace_envelope::TopicName;
use millrace_http::{RequestLog, RequestRecord};
use millrace_messaging::{KafkaSettings, Producer, ProducerProfile};
use millrace_request_log::{DEFAULTS, RequestLogQueue, RequestLogSettings, request_log};
use millrace_runtime::settings::{Layers, Problems, Validate, load};
use millrace_runtime::{CancellationToken, Tasks};
use millrace_telemetry::metrics;
use millrace_testkit::{Namespace, Stack, TopicSpec, wait_until};
use serde::Deserialize;
use tokio::sync::{Mutex, MutexGuard};

const TOPIC: TopicName = TopicName::from_static("request-logs");
const LONG: Duration = Duration::from_secs(15);

/// The accounts are the process's, so tests that read them take turns.
static TURN: LazyLock<Mutex<()>> = LazyLock::new(Mutex::default);

#[derive(Debug, Deserialize)]
struct Sections {
    kafka: KafkaSettings,
    request_log: RequestLogSettings,
}

impl Validate for Sections {
    fn validate(&self, problems: &mut Problems) {
        self.request_log.validate(problems);
    }
}

/// Settings for brokers that may not be there, with few seconds' patience.
fn sections(brokers: &str, prefix: &str, adjust: &[(&str, &str)]) -> Sections {
    let fixed = [
        ("T__KAFKA__BROKERS", brokers),
        ("T__KAFKA__TOPIC_PREFIX", prefix),
        ("T__KAFKA__BULK_LINGER", "5ms"),
        ("T__REQUEST_LOG__DRAIN_TIMEOUT", "300ms"),
    ];
    let environment =
        fixed.iter().chain(adjust).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    load(&Layers {
        defaults: vec![millrace_messaging::DEFAULTS, DEFAULTS],
        overlay: None,
        prefix: "T",
        environment: environment.collect(),
    })
    .unwrap()
}

/// One account of the process at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Accounts {
    received: u64,
    shipped: u64,
    dropped: u64,
    queued: i64,
}

impl Accounts {
    const REASONS: [&str; 4] = ["queue_full", "too_large", "publish_failed", "shutdown"];

    fn now() -> Self {
        Self {
            received: metrics::counter("request_log_received_total", "").get(),
            shipped: metrics::counter("request_log_shipped_total", "").get(),
            dropped: Self::REASONS.iter().map(|reason| dropped(reason)).sum(),
            queued: metrics::gauge("request_log_queued", "").get(),
        }
    }

    fn balance(&self) -> bool {
        self.received == self.shipped + self.dropped + u64::try_from(self.queued).unwrap()
    }
}

fn dropped(reason: &str) -> u64 {
    metrics::counter_vec("request_log_dropped_total", "", &["reason"])
        .with_label_values(&[reason])
        .get()
}

fn record(route: impl Into<String>) -> RequestRecord {
    RequestRecord {
        // Now, because the broker's retention goes by it.
        at_ms: millrace_runtime::Clock::system().now_ms(),
        service: "test",
        method: "GET",
        route: route.into(),
        status: 200,
        latency_us: 1,
        trace_id: None,
        caller: None,
        request_bytes: 0,
        response_bytes: 0,
        level: "INFO",
    }
}

struct Running {
    queue: RequestLogQueue,
    tasks: Tasks,
    stop: CancellationToken,
    _turn: MutexGuard<'static, ()>,
}

impl Running {
    async fn start(sections: &Sections) -> Self {
        let turn = TURN.lock().await;
        let producer = Producer::new(&sections.kafka, ProducerProfile::Bulk).unwrap();
        let (queue, shipper) = request_log(&sections.request_log, &producer).unwrap();
        let (tasks, stop) = (Tasks::new(), CancellationToken::new());
        tasks.spawn("request_log", shipper.run(stop.clone()));
        Self { queue, tasks, stop, _turn: turn }
    }

    async fn stop(&self) {
        self.stop.cancel();
        assert!(self.tasks.wait(LONG).await.is_empty());
    }
}

async fn topic() -> (&'static Stack, Namespace, millrace_testkit::TestTopics) {
    let stack = Stack::shared().await;
    let namespace = stack.namespace();
    let topics = stack.topics(&namespace, &[TopicSpec::new(TOPIC.as_str(), 1)]).await;
    (stack, namespace, topics)
}

fn prefix(namespace: &Namespace) -> String {
    namespace.topic("")
}

#[tokio::test(flavor = "multi_thread")]
async fn records_reach_the_topic_in_order_and_misfits_are_counted() {
    let (stack, namespace, _topics) = topic().await;
    let running = Running::start(&sections(&stack.brokers(), &prefix(&namespace), &[])).await;
    let before = Accounts::now();
    let large_before = dropped("too_large");
    for number in 0..1000 {
        running.queue.record(record(format!("/{number}")));
    }
    running.queue.record(record("x".repeat(17_000)));
    wait_until("everything is accounted for", LONG, || async {
        let now = Accounts::now();
        now.received - before.received == 1001 && now.queued == 0
    })
    .await;
    let after = Accounts::now();
    assert!(after.balance(), "{after:?}");
    assert_eq!(after.shipped - before.shipped, 1000);
    assert_eq!(dropped("too_large") - large_before, 1);
    let found = stack.records(&namespace.topic(TOPIC.as_str())).await;
    let routes: Vec<String> = found
        .iter()
        .map(|record| record.json()["payload"]["route"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(routes, (0..1000).map(|number| format!("/{number}")).collect::<Vec<_>>());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ships_what_is_queued_and_drops_what_comes_later() {
    let (stack, namespace, _topics) = topic().await;
    let adjust = [("T__REQUEST_LOG__DRAIN_TIMEOUT", "10s")];
    let running = Running::start(&sections(&stack.brokers(), &prefix(&namespace), &adjust)).await;
    let before = Accounts::now();
    let shutdown_before = dropped("shutdown");
    for number in 0..300 {
        running.queue.record(record(format!("/{number}")));
    }
    running.stop().await;
    running.queue.record(record("/late"));
    let after = Accounts::now();
    assert!(after.balance(), "{after:?}");
    assert_eq!(after.shipped - before.shipped, 300, "{:?}", running.queue);
    assert_eq!(dropped("shutdown") - shutdown_before, 1);
    assert_eq!(after.queued, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_costs_records_and_never_time() {
    let adjust =
        [("T__REQUEST_LOG__QUEUE_RECORDS_MAX", "100"), ("T__REQUEST_LOG__BATCH_RECORDS_MAX", "50")];
    let running = Running::start(&sections("127.0.0.1:9", "away.", &adjust)).await;
    let before = Accounts::now();
    let (full_before, shutdown_before) = (dropped("queue_full"), dropped("shutdown"));
    let started = std::time::Instant::now();
    for number in 0..10_000 {
        running.queue.record(record(format!("/{number}")));
    }
    assert!(started.elapsed() < LONG, "{:?}", started.elapsed());
    wait_until("all are accounted for", LONG, || async {
        Accounts::now().received - before.received == 10_000
    })
    .await;
    let during = Accounts::now();
    assert!(during.balance(), "{during:?}");
    // A hundred wait, and the client tries up to fifty in vain.
    assert!((100..=150).contains(&during.queued), "{during:?}");
    assert!(dropped("queue_full") - full_before >= 9_850);
    running.stop().await;
    let after = Accounts::now();
    assert!(after.balance(), "{after:?}");
    assert_eq!(after.queued, 0);
    assert_eq!(after.received - before.received, 10_000);
    assert_eq!(u64::try_from(during.queued).unwrap(), dropped("shutdown") - shutdown_before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_refuses_is_counted_and_shipping_goes_on() {
    let adjust = [("T__KAFKA__PUBLISH_TIMEOUT", "1s"), ("T__REQUEST_LOG__DRAIN_TIMEOUT", "5s")];
    let running = Running::start(&sections("127.0.0.1:9", "away.", &adjust)).await;
    let failed_before = dropped("publish_failed");
    for round in 1..=2 {
        running.queue.record(record("/a"));
        wait_until("the loss is counted", LONG, || async {
            dropped("publish_failed") - failed_before == round
        })
        .await;
    }
    assert!(Accounts::now().balance());
    running.stop().await;
}
