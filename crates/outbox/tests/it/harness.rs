//! One test's database, topics, relays and events.

use std::time::Duration;

use millrace_envelope::{MessageContext, TraceContext, events};
use millrace_messaging::KafkaSettings;
use millrace_outbox::{
    DATABASE_DEFAULTS, DatabaseSettings, MIGRATIONS, OutboxRecord, RELAY_DEFAULTS, Relay,
    RelaySettings, append,
};
use millrace_runtime::Clock;
use millrace_runtime::settings::{Layers, Problems, Validate, load};
use millrace_testkit::records::RawRecord;
use millrace_testkit::{Namespace, Stack, TestDatabase, TestTopics, TopicSpec, wait_until};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) walk: String,
    pub(crate) number: u32,
    pub(crate) padding: String,
}

events! {
    /// Steps of walks: each walk's numbers must arrive in order.
    pub(crate) enum WalkEvent on "walk-events", aggregate "walk", key walk {
        "walk.stepped" v1 => Stepped(Step),
    }
}

events! {
    /// The same on a topic that no broker has.
    pub(crate) enum LostEvent on "lost-events", aggregate "walk", key walk {
        "walk.lost" v1 => Lost(Step),
    }
}

/// What one test has to itself.
pub(crate) struct Bench {
    pub(crate) stack: &'static Stack,
    pub(crate) database: TestDatabase,
    pub(crate) owner: PgPool,
    pub(crate) app: PgPool,
    pub(crate) namespace: Namespace,
    _topics: TestTopics,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with_topic(TopicSpec::new("walk-events", 4)).await
    }

    /// With another form of the topic `walk-events`.
    pub(crate) async fn with_topic(topic: TopicSpec) -> Self {
        let stack = Stack::shared().await;
        let namespace = stack.namespace();
        let database = stack.database("walks", &[&MIGRATIONS]).await;
        let topics = stack.topics(&namespace, &[topic]).await;
        let (owner, app) = (database.owner_pool(), database.app_pool());
        Self { stack, database, owner, app, namespace, _topics: topics }
    }

    pub(crate) fn relay(&self, settings: &[(&str, &str)]) -> Relay {
        let kafka = kafka_settings(&self.stack.brokers(), &self.namespace, &[]);
        relay(&self.app, &kafka, settings)
    }

    pub(crate) async fn waiting(&self) -> i64 {
        self.count("select count(*) from outbox").await
    }

    /// Sessions of the service's role in this database for which `condition` holds: what a role may see of
    /// `pg_stat_activity` is its own.
    pub(crate) async fn sessions(&self, condition: &str) -> i64 {
        let query = format!(
            "select count(*) from pg_stat_activity where datname = current_database() and {condition}"
        );
        sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(&self.app).await.unwrap()
    }

    pub(crate) async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.owner).await.unwrap()
    }

    pub(crate) async fn drained(&self) {
        wait_until("the outbox is empty", PATIENCE, || async {
            match self.waiting().await {
                0 => Ok(()),
                rows => Err(rows),
            }
        })
        .await;
    }

    pub(crate) async fn published(&self) -> Vec<RawRecord> {
        self.stack.records(&self.namespace.topic("walk-events")).await
    }

    /// Appends steps in one transaction as the service's role.
    pub(crate) async fn append(&self, records: &[OutboxRecord]) {
        let mut transaction = self.app.begin().await.unwrap();
        append(&mut transaction, records).await.unwrap();
        transaction.commit().await.unwrap();
    }
}

pub(crate) fn relay(pool: &PgPool, kafka: &KafkaSettings, settings: &[(&str, &str)]) -> Relay {
    Relay::new(pool, kafka, relay_settings(settings), "walks")
}

pub(crate) fn step(walk: &str, number: u32) -> OutboxRecord {
    padded_step(walk, number, 0)
}

pub(crate) fn padded_step(walk: &str, number: u32, padding: usize) -> OutboxRecord {
    let event =
        WalkEvent::Stepped(Step { walk: walk.into(), number, padding: "x".repeat(padding) });
    OutboxRecord::of("walks", &event, &context(), &Clock::system()).unwrap()
}

pub(crate) fn lost_step(walk: &str, number: u32) -> OutboxRecord {
    let event = LostEvent::Lost(Step { walk: walk.into(), number, padding: String::new() });
    OutboxRecord::of("walks", &event, &context(), &Clock::system()).unwrap()
}

pub(crate) fn context() -> MessageContext {
    MessageContext {
        actor: Some("ann".into()),
        correlation_id: Some("c-1".into()),
        trace: TraceContext {
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
            tracestate: "vendor=1".into(),
            baggage: String::new(),
        },
        ..MessageContext::default()
    }
}

/// Walk and number of each record, in the order of the topic's partitions.
pub(crate) fn steps(records: &[RawRecord]) -> Vec<(String, u32)> {
    let number = |record: &RawRecord| {
        let payload = &record.json()["payload"];
        let number = u32::try_from(payload["number"].as_u64().unwrap()).unwrap();
        (payload["walk"].as_str().unwrap().to_owned(), number)
    };
    records.iter().map(number).collect()
}

/// Fails unless the first appearances of every walk's steps are 1, 2, 3, ... up to `last`.
pub(crate) fn assert_in_order(records: &[RawRecord], walks: &[String], last: u32) {
    let steps = steps(records);
    for walk in walks {
        let mut seen = std::collections::BTreeSet::new();
        let own = steps.iter().filter(|(name, _)| name == walk).map(|(_, number)| *number);
        let first: Vec<u32> = own.filter(|number| seen.insert(*number)).collect();
        let expected: Vec<u32> = (1..=last).collect();
        assert_eq!(first, expected, "{walk}");
    }
}

#[derive(Debug, Deserialize)]
struct Sections {
    database: DatabaseSettings,
    outbox: RelaySettings,
    kafka: KafkaSettings,
}

impl Validate for Sections {
    fn validate(&self, problems: &mut Problems) {
        self.database.validate(problems);
        self.outbox.validate(problems);
        self.kafka.validate(problems);
    }
}

fn sections(environment: Vec<(String, String)>) -> Sections {
    let mut environment = environment;
    // Needed by the section, whether the test uses it or not.
    for key in ["NAME", "USER"] {
        environment.insert(0, (format!("T__DATABASE__{key}"), "unused".to_owned()));
    }
    load(&Layers {
        defaults: vec![DATABASE_DEFAULTS, RELAY_DEFAULTS, millrace_messaging::DEFAULTS],
        overlay: None,
        prefix: "T",
        environment,
    })
    .unwrap()
}

pub(crate) fn database_settings(database: &TestDatabase) -> DatabaseSettings {
    sections(database.env("T")).database
}

pub(crate) fn relay_settings(keys: &[(&str, &str)]) -> RelaySettings {
    let key = |(key, value): &(&str, &str)| (format!("T__OUTBOX__{key}"), (*value).to_owned());
    sections(keys.iter().map(key).collect()).outbox
}

pub(crate) fn kafka_settings(
    brokers: &str,
    namespace: &Namespace,
    keys: &[(&str, &str)],
) -> KafkaSettings {
    let own = [("BROKERS", brokers), ("TOPIC_PREFIX", &namespace.topic_prefix)];
    let key = |(key, value): &(&str, &str)| (format!("T__KAFKA__{key}"), (*value).to_owned());
    sections(own.iter().chain(keys).map(key).collect()).kafka
}
