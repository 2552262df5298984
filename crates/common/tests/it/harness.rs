//! The smallest service that consumes: one group, a handler that waits for the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use millrace_common::envelope::{ConsumerGroup, TopicName};
use millrace_common::http::{HTTP_DEFAULTS, HttpSettings};
use millrace_common::messaging::{
    self, Consumer, Delivery, KafkaSettings, Outcome, RawMessage, each,
};
use millrace_common::runtime::settings::{Problems, Validate};
use millrace_common::telemetry::{self, TelemetryGuard, TelemetrySettings};
use millrace_common::{
    Application, BaseSettings, Chassis, SHUTDOWN_DEFAULTS, ServiceSettings, ShutdownSettings,
    load_settings,
};
use millrace_testkit::{Namespace, Stack, TestTopics, TopicSpec, wait_until};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;

pub(crate) const SOON: Duration = Duration::from_secs(15);
const TOPIC: TopicName = TopicName::from_static("parcels");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    http: HttpSettings,
    telemetry: TelemetrySettings,
    shutdown: ShutdownSettings,
    kafka: KafkaSettings,
}

impl ServiceSettings for Settings {
    const SERVICE: &'static str = "depot";
    const ENV_PREFIX: &'static str = "DEPOT";
    const DEFAULTS: &'static [&'static str] =
        &[HTTP_DEFAULTS, telemetry::DEFAULTS, SHUTDOWN_DEFAULTS, messaging::DEFAULTS];

    fn base(&self) -> BaseSettings<'_> {
        BaseSettings { http: &self.http, telemetry: &self.telemetry, shutdown: &self.shutdown }
    }
}

impl Validate for Settings {
    fn validate(&self, problems: &mut Problems) {
        self.http.validate(problems);
        self.kafka.validate(problems);
    }
}

/// A running service; its handler finishes a record for each permit that the test gives.
pub(crate) struct Depot {
    pub(crate) group: &'static str,
    application: Application,
    stack: &'static Stack,
    namespace: Namespace,
    client: reqwest::Client,
    telemetry: TelemetryGuard,
    permits: Arc<Semaphore>,
    open: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
    _topics: TestTopics,
}

impl Depot {
    /// One partition, one call at a time. Log and metrics are the process's, so each test has a group of its own.
    pub(crate) async fn start(group: &'static str) -> Self {
        let telemetry = telemetry::init_for_tests("depot", "");
        let stack = Stack::shared().await;
        let namespace = stack.namespace();
        let topics = stack.topics(&namespace, &[TopicSpec::new(TOPIC.as_str(), 1)]).await;
        let permits = Arc::new(Semaphore::new(0));
        let (open, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let chassis = {
            let settings: Settings = load_settings(None, environment(stack, &namespace)).unwrap();
            let mut chassis = Chassis::new(&settings);
            let (permits, open, done) =
                (Arc::clone(&permits), Arc::clone(&open), Arc::clone(&done));
            let sort = each(move |_: Delivery<RawMessage>| {
                let (permits, open, done) =
                    (Arc::clone(&permits), Arc::clone(&open), Arc::clone(&done));
                async move {
                    open.fetch_add(1, Ordering::SeqCst);
                    permits.acquire().await.unwrap().forget();
                    open.fetch_sub(1, Ordering::SeqCst);
                    done.fetch_add(1, Ordering::SeqCst);
                    Outcome::Done
                }
            });
            let consumer = Consumer::new(ConsumerGroup::from_static(group), TOPIC, sort);
            chassis.consume(&settings.kafka, consumer.concurrency(1)).unwrap();
            chassis
        };
        let application = chassis.serve(|_| {}).await.unwrap();
        let (client, _topics) = (reqwest::Client::new(), topics);
        let depot = Self {
            group,
            application,
            stack,
            namespace,
            client,
            telemetry,
            permits,
            open,
            done,
            _topics,
        };
        wait_until("partition owned", SOON, || async {
            let owned = depot.consumer().await["health"]["details"]["partitionCount"].clone();
            if owned == 1 { Ok(()) } else { Err(owned) }
        })
        .await;
        depot
    }

    /// Publishes a record for each key.
    pub(crate) async fn send(&self, keys: &[&str]) {
        let topic = self.namespace.topic(TOPIC.as_str());
        for key in keys {
            self.stack.produce(&topic, key.as_bytes(), Some(b"parcel"), &[]).await;
        }
    }

    /// Lets so many records be finished.
    pub(crate) fn permit(&self, records: usize) {
        self.permits.add_permits(records);
    }

    /// Calls of the handler that wait for a permit.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub(crate) fn done(&self) -> usize {
        self.done.load(Ordering::SeqCst)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://127.0.0.1:{}{path}", self.application.admin_port());
        self.client.request(method.parse().unwrap(), url)
    }

    /// Where the group is changed.
    pub(crate) fn path(&self) -> String {
        format!("/actuator/consumers/{}", self.group)
    }

    /// The group's entry in the list.
    pub(crate) async fn consumer(&self) -> Value {
        let (status, reply) = answer(self.request("GET", "/actuator/consumers")).await;
        assert_eq!((status, reply["code"].as_str()), (200, Some("ok")), "{reply}");
        let consumers = reply["data"]["consumers"].as_array().unwrap();
        assert_eq!(consumers.len(), 1, "{reply}");
        consumers[0].clone()
    }

    /// Changes the group; the entry that comes back.
    pub(crate) async fn change(&self, body: Value) -> Value {
        let request = self.request("PUT", &self.path()).json(&body);
        let (status, reply) = answer(request).await;
        assert_eq!(status, 200, "{reply}");
        reply["data"]["consumers"][0].clone()
    }

    /// How often partitions were assigned or taken from the group so far.
    pub(crate) async fn rebalances(&self) -> Vec<String> {
        let page = self.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
        let of_group = |line: &&str| {
            line.starts_with("messaging_rebalances_total{") && line.contains(self.group)
        };
        page.lines().filter(of_group).map(str::to_owned).collect()
    }

    /// Lines of the log that say what an operator did.
    pub(crate) fn changes_logged(&self) -> usize {
        let lines = self.telemetry.log_lines().lines_at("INFO");
        let change = format!("an operator changed consumer {}", self.group);
        lines.iter().filter(|line| line.contains(&change)).count()
    }

    pub(crate) async fn finish(self) {
        self.permits.add_permits(Semaphore::MAX_PERMITS / 2);
        assert!(self.application.stop().await, "the stop took too long");
    }
}

/// Status and body.
pub(crate) async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let reply = request.send().await.unwrap();
    (reply.status().as_u16(), reply.json().await.unwrap())
}

fn environment(stack: &Stack, namespace: &Namespace) -> Vec<(String, String)> {
    let brokers = stack.brokers();
    let pairs = [
        ("HTTP__BIND", "127.0.0.1"),
        ("HTTP__PORT", "0"),
        ("HTTP__ADMIN_PORT", "0"),
        ("SHUTDOWN__DRAIN_DELAY", "0s"),
        ("KAFKA__BROKERS", brokers.as_str()),
        ("KAFKA__TOPIC_PREFIX", &namespace.topic_prefix),
        ("KAFKA__GROUP_SUFFIX", &namespace.group_suffix),
        ("KAFKA__LAG_INTERVAL", "100ms"),
    ];
    pairs.iter().map(|(key, value)| (format!("DEPOT__{key}"), (*value).to_owned())).collect()
}
