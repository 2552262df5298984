//! The production application on a database, topics and a consumer group of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_audit::{MIGRATIONS, Settings, startup};
use millrace_common::envelope::{Envelope, MessageContext, Topic as _};
use millrace_common::messaging::{self, KafkaSettings, Producer, ProducerProfile};
use millrace_common::runtime::settings::{Layers, Problems, Validate, load};
use millrace_common::telemetry::{self, TelemetryGuard};
use millrace_common::{Application, load_settings};
use millrace_contracts::events::{AuditEvent, AuditOutcome, AuditRecorded};
use millrace_contracts::{Topic, groups};
use millrace_testkit::records::RawRecord;
use millrace_testkit::tokens::{self, Issuer};
use millrace_testkit::{Namespace, Stack, TestDatabase, TestTopics, TopicSpec, wait_until};
use reqwest::StatusCode;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
const TOPIC: Topic = Topic::AuditTopic;
const PARTITIONS: i32 = 2;

/// A running service and what it stands on. End each test with [`TestApp::finish`].
pub(crate) struct TestApp {
    application: Application,
    pub(crate) database: TestDatabase,
    stack: &'static Stack,
    namespace: Namespace,
    client: reqwest::Client,
    producer: Producer,
    telemetry: TelemetryGuard,
    _topics: TestTopics,
    _keys: tempfile::TempDir,
}

/// A reply: its status, its headers and its body.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The names of the fields that are wrong.
    pub(crate) fn fields(&self) -> Vec<&str> {
        let fields = self.body["data"]["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
        fields.iter().filter_map(|field| field["field"].as_str()).collect()
    }

    /// One column of the page's records.
    pub(crate) fn column(&self, name: &str) -> Vec<&str> {
        let records = self.body["data"]["records"].as_array().expect("a page of records");
        records.iter().filter_map(|record| record[name].as_str()).collect()
    }

    pub(crate) fn next_cursor(&self) -> Option<String> {
        self.body["data"]["next_cursor"].as_str().map(str::to_owned)
    }
}

pub(crate) async fn spawn_app() -> TestApp {
    spawn_app_with(&[]).await
}

/// With settings of the test's own on top, `("SEARCH__CURSOR_SECRET", "...")`.
pub(crate) async fn spawn_app_with(overrides: &[(&str, &str)]) -> TestApp {
    let telemetry = telemetry::init_for_tests("audit", "");
    let stack = Stack::shared().await;
    let (namespace, keys) = (stack.namespace(), tempfile::tempdir().unwrap());
    let jwks = keys.path().join("jwks.json");
    Issuer::shared().write_jwks(&jwks).unwrap();
    let database = stack.database("audit", &[&MIGRATIONS]).await;
    let names = [
        TOPIC.topic_name().to_string(),
        TOPIC.topic_name().dead_letter(groups::AUDIT_RECORD).to_string(),
        Topic::RequestLogs.topic_name().to_string(),
    ];
    let specs: Vec<TopicSpec> = names.iter().map(|name| TopicSpec::new(name, PARTITIONS)).collect();
    let topics = stack.topics(&namespace, &specs).await;
    let mut environment = database.env("AUDIT");
    for (key, value) in [
        ("HTTP__BIND", "127.0.0.1"),
        ("HTTP__PORT", "0"),
        ("HTTP__ADMIN_PORT", "0"),
        ("HTTP__DEADLINE", "10s"),
        ("SHUTDOWN__DRAIN_DELAY", "0s"),
        ("AUTH__JWKS_FILE", jwks.to_str().unwrap()),
        ("AUTH__ISSUER", tokens::ISSUER),
        ("AUTH__AUDIENCE", tokens::AUDIENCE),
        ("KAFKA__BROKERS", &stack.brokers()),
        ("KAFKA__TOPIC_PREFIX", &namespace.topic_prefix),
        ("KAFKA__GROUP_SUFFIX", &namespace.group_suffix),
        ("SEARCH__CURSOR_SECRET", "a secret of the tests, 32 bytes or more"),
    ]
    .iter()
    .chain(overrides)
    {
        environment.push((format!("AUDIT__{key}"), (*value).to_owned()));
    }
    let producer = producer(&environment);
    let settings: Settings = load_settings(None, environment).unwrap();
    let application = startup::build(settings).await.unwrap();
    let client = reqwest::Client::new();
    let (_topics, _keys) = (topics, keys);
    TestApp { application, database, stack, namespace, client, producer, telemetry, _topics, _keys }
}

#[derive(serde::Deserialize)]
struct KafkaSection {
    kafka: KafkaSettings,
}

impl Validate for KafkaSection {
    fn validate(&self, problems: &mut Problems) {
        self.kafka.validate(problems);
    }
}

/// A sender beside the service, with the service's own way to the broker.
fn producer(environment: &[(String, String)]) -> Producer {
    let of_kafka = environment.iter().filter(|(key, _)| key.starts_with("AUDIT__KAFKA__"));
    let section: KafkaSection = load(&Layers {
        defaults: vec![messaging::DEFAULTS],
        overlay: None,
        prefix: "AUDIT",
        environment: of_kafka.cloned().collect(),
    })
    .unwrap();
    Producer::new(&section.kafka, ProducerProfile::Durable).unwrap()
}

impl TestApp {
    /// A search as an administrator; `query` is sent as it is.
    pub(crate) async fn search(&self, query: &str) -> Answer {
        self.search_as(Some(&tokens::admin_token()), query).await
    }

    pub(crate) async fn search_as(&self, token: Option<&str>, query: &str) -> Answer {
        let port = self.application.port();
        let url = format!("http://127.0.0.1:{port}/api/v1/audit/records?{query}");
        let mut request = self.client.get(url);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let reply = request.send().await.unwrap();
        let header = reply.headers().get("retry-after");
        let retry_after = header.map(|value| value.to_str().unwrap().to_owned());
        Answer { status: reply.status(), retry_after, body: reply.json().await.unwrap() }
    }

    /// Sends a record as a service's relay would.
    pub(crate) async fn publish(&self, envelope: &Envelope<AuditEvent>) {
        self.publish_all(std::slice::from_ref(envelope)).await;
    }

    pub(crate) async fn publish_all(&self, envelopes: &[Envelope<AuditEvent>]) {
        let encode = |envelope: &Envelope<AuditEvent>| envelope.encode(&MessageContext::default());
        let records: Vec<_> = envelopes.iter().map(encode).collect::<Result<_, _>>().unwrap();
        for published in self.producer.publish_all(&records).await {
            published.unwrap();
        }
    }

    /// Sends an envelope whose time the broker would refuse as its record's (more than an hour ahead).
    pub(crate) async fn publish_untimed(&self, envelope: &Envelope<AuditEvent>) {
        let record = envelope.encode(&MessageContext::default()).unwrap();
        self.publish_raw(&record.key, record.payload.as_deref().unwrap()).await;
    }

    pub(crate) async fn publish_raw(&self, key: &[u8], payload: &[u8]) {
        let topic = self.namespace.topic(TOPIC.topic_name().as_str());
        self.stack.produce(&topic, key, Some(payload), &[]).await;
    }

    pub(crate) async fn dead_letters(&self) -> Vec<RawRecord> {
        let name = TOPIC.topic_name().dead_letter(groups::AUDIT_RECORD);
        self.stack.committed_records(&self.namespace.topic(name.as_str())).await
    }

    /// How many rows have this id.
    pub(crate) async fn stored(&self, id: Uuid) -> i64 {
        sqlx::query_scalar("select count(*) from audit_records where id = $1")
            .bind(id)
            .fetch_one(&self.database.app_pool())
            .await
            .unwrap()
    }

    pub(crate) async fn wait_stored(&self, id: Uuid) {
        wait_until("record stored", PATIENCE, || async { self.stored(id).await == 1 }).await;
    }

    /// Waits until the service has finished with everything that is on the topic: its handler keeps no order, so no
    /// record says anything about another.
    pub(crate) async fn wait_finished(&self) {
        let (access, topic) =
            (self.stack.access(), self.namespace.topic(TOPIC.topic_name().as_str()));
        let group = format!("{}{}", groups::AUDIT_RECORD, self.namespace.group_suffix);
        for partition in 0..PARTITIONS {
            let end = access.log_end(&topic, partition).await.unwrap();
            wait_until("everything is finished", PATIENCE, || async {
                let committed = access.committed(&group, &topic, partition).await;
                let committed = committed.map_or(0, |committed| committed.offset);
                if committed >= end { Ok(()) } else { Err((partition, committed, end)) }
            })
            .await;
        }
    }

    /// What this process's services warned of so far.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.telemetry.log_lines().lines_at("WARN")
    }

    /// Stops the service and checks that nothing was left that the test did not say.
    pub(crate) async fn finish(self, dead_letters: usize) {
        assert_eq!(self.dead_letters().await.len(), dead_letters, "dead letters");
        assert!(self.application.stop().await, "the stop took too long");
        let errors = self.telemetry.log_lines().lines_at("ERROR");
        let unexpected: Vec<_> =
            errors.iter().filter(|line| !line.contains("dead-letter")).collect();
        assert!(unexpected.is_empty(), "{unexpected:?}");
    }
}

/// A record; `change` makes it the test's own.
pub(crate) fn envelope(change: impl FnOnce(&mut AuditRecorded)) -> Envelope<AuditEvent> {
    let mut recorded = AuditRecorded {
        actor: "ann".into(),
        action: "order.place".into(),
        resource: "order/1".into(),
        outcome: AuditOutcome::Done,
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
        detail: BTreeMap::from([("total_minor".into(), "2500".into())]),
    };
    change(&mut recorded);
    Envelope::new(Uuid::now_v7(), "order", 1_700_000_000_123, AuditEvent::Recorded(recorded))
}

/// One row as a test wants it, by the service's own role, past the topic.
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) actor: &'static str,
    pub(crate) action: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) outcome: &'static str,
    pub(crate) service: &'static str,
    pub(crate) trace_id: Option<&'static str>,
    pub(crate) at_ms: i64,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            id: Uuid::now_v7(),
            actor: "ann",
            action: "order.place",
            resource: "order/1",
            outcome: "done",
            service: "order",
            trace_id: None,
            at_ms: 1_700_000_000_000,
        }
    }
}

pub(crate) async fn insert(pool: &PgPool, row: &Row) {
    sqlx::query(
        "insert into audit_records (id, actor, action, resource, outcome, service, trace_id, occurred_at, detail)
         values ($1, $2, $3, $4, $5, $6, $7, to_timestamp($8::bigint / 1000.0), '{}')",
    )
    .bind(row.id)
    .bind(row.actor)
    .bind(row.action)
    .bind(row.resource)
    .bind(row.outcome)
    .bind(row.service)
    .bind(row.trace_id)
    .bind(row.at_ms)
    .execute(pool)
    .await
    .unwrap();
}
