//! One inventory service per test, with its own database, topics, consumer group and ports.
//!
//! Every test ends with [`TestApp::finish`], which checks what no test may leave behind: unpublished events, dead
//! letters that were not expected, ERROR lines.

use std::time::Duration;

use millrace_common::envelope::{Envelope, MessageContext, TraceContext};
use millrace_common::messaging::{Producer, ProducerProfile};
use millrace_common::scheduler::{self, ScheduleError, TaskId};
use millrace_common::telemetry::{LogCapture, init_for_tests};
use millrace_common::{Application, coordination, load_settings, outbox};
use millrace_contracts::events::{
    CancelReason, OrderCancelled, OrderConfirmed, OrderEvent, OrderLine, OrderPlaced,
};
use millrace_contracts::groups;
use millrace_contracts::topics::all_specs;
use millrace_inventory::{MIGRATIONS, SERVICE, Settings, startup};
use millrace_testkit::api::Api;
use millrace_testkit::records::RawRecord;
use millrace_testkit::tokens::{AUDIENCE, ISSUER, admin_token, customer_token};
use millrace_testkit::{Issuer, Namespace, Stack, TestDatabase, TestTopics, TopicSpec, wait_until};
use serde_json::Value;
use sqlx::PgPool;
use tempfile::TempDir;
use uuid::Uuid;

/// Long enough for a busy machine; a test that waits it out has failed.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// The beginning of SKUs whose stock a test makes wrong.
pub(crate) const OFF: &str = "OFF-BALANCE";

const DEAD_LETTERS: &str = "order-events.inventory.reserve.dlt";

/// How one test wants its service.
pub(crate) struct Wish {
    /// Partitions of each topic.
    pub(crate) partitions: i32,
    /// Settings besides the addresses, as `(SECTION__KEY, value)`.
    pub(crate) settings: Vec<(&'static str, &'static str)>,
}

impl Default for Wish {
    fn default() -> Self {
        Self { partitions: 2, settings: Vec::new() }
    }
}

/// A running service and everything around it.
pub(crate) struct TestApp<'a> {
    pub(crate) stack: &'a Stack,
    pub(crate) names: Namespace,
    pub(crate) admin: Api,
    pub(crate) customer: Api,
    /// Reads what the service may not.
    pub(crate) owner: PgPool,
    /// The role that the service runs as.
    pub(crate) role: PgPool,
    producer: Producer,
    application: Option<Application>,
    logs: LogCapture,
    dead_letters_expected: usize,
    // Last: the service ends before its things go.
    _topics: TestTopics,
    _database: TestDatabase,
    _keys: TempDir,
}

/// The production service on the shared stack.
pub(crate) async fn spawn_app() -> TestApp<'static> {
    spawn_app_with(Stack::shared().await, Wish::default()).await
}

pub(crate) async fn spawn_app_with(stack: &Stack, wish: Wish) -> TestApp<'_> {
    let logs = init_for_tests(SERVICE, "").log_lines();
    let names = stack.namespace();
    let sets =
        [&outbox::MIGRATIONS, &coordination::MIGRATIONS, &scheduler::MIGRATIONS, &MIGRATIONS];
    let database = stack.database(SERVICE, &sets).await;
    let specs: Vec<TopicSpec> = all_specs()
        .iter()
        .map(|spec| TopicSpec::new(spec.name.to_string(), wish.partitions))
        .collect();
    let topics = stack.topics(&names, &specs).await;
    let keys = TempDir::new().expect("a directory for the keys");
    let settings = settings(stack, &names, &database, &keys, &wish);
    let producer =
        Producer::new(&settings.kafka, ProducerProfile::Durable).expect("the producer is made");
    let application = startup::build(settings).await.expect("the service starts");
    let base = format!("http://127.0.0.1:{}", application.port());
    let admin = Api::new(&base, admin_token());
    TestApp {
        stack,
        names,
        customer: admin.with_token(customer_token("ann")),
        admin,
        owner: database.owner_pool(),
        role: database.app_pool(),
        producer,
        application: Some(application),
        logs,
        dead_letters_expected: 0,
        _topics: topics,
        _database: database,
        _keys: keys,
    }
}

fn settings(
    stack: &Stack,
    names: &Namespace,
    database: &TestDatabase,
    keys: &TempDir,
    wish: &Wish,
) -> Settings {
    let jwks = keys.path().join("jwks.json");
    Issuer::shared().write_jwks(&jwks).expect("the keys are written");
    let mut environment = database.env("INVENTORY");
    let mut set = |key: &str, value: &str| {
        environment.push((format!("INVENTORY__{key}"), value.to_owned()));
    };
    set("HTTP__BIND", "127.0.0.1");
    set("HTTP__PORT", "0");
    set("HTTP__ADMIN_PORT", "0");
    // The machine may be busy with other tests; deadlines have tests of their own.
    set("HTTP__DEADLINE", "10s");
    set("DATABASE__ACQUIRE_TIMEOUT", "5s");
    set("SHUTDOWN__DRAIN_DELAY", "0s");
    set("AUTH__JWKS_FILE", &jwks.display().to_string());
    set("AUTH__ISSUER", ISSUER);
    set("AUTH__AUDIENCE", AUDIENCE);
    set("KAFKA__BROKERS", &stack.brokers());
    set("KAFKA__TOPIC_PREFIX", &names.topic_prefix);
    set("KAFKA__GROUP_SUFFIX", &names.group_suffix);
    set("REDIS__HOST", "127.0.0.1");
    set("REDIS__PORT", &stack.addresses().redis_port.to_string());
    set("REDIS__KEY_PREFIX", &names.redis_prefix);
    for (key, value) in &wish.settings {
        set(key, value);
    }
    load_settings(None, environment).expect("the settings are good")
}

impl TestApp<'_> {
    /// The service's address.
    pub(crate) fn base(&self) -> String {
        let application = self.application.as_ref().expect("the service runs");
        format!("http://127.0.0.1:{}", application.port())
    }

    /// Asks for a run of a task and waits until it is done.
    pub(crate) async fn run_task(&self, name: &str) {
        let id = TaskId::parse(name).expect("a task's name");
        let application = self.application.as_ref().expect("the service runs");
        let schedules = application.schedules().expect("the service has tasks");
        wait_until(&format!("task {name} is done"), SOON, || async {
            // It is declared once the database is there, and left out while it is at work.
            let instant = match schedules.trigger(&id, "test").await {
                Ok(instant) => instant,
                Err(error @ ScheduleError::Unknown { .. }) => return Err(error.to_string()),
                Err(error) => panic!("{error}"),
            };
            let state: String = wait_until("its end", SOON, || async {
                sqlx::query_scalar(
                    "select state from task_occurrence \
                     where task = $1 and instant = $2 and ended_at is not null",
                )
                .bind(name)
                .bind(instant)
                .fetch_optional(&self.owner)
                .await
                .expect("the occurrence can be read")
            })
            .await;
            if state == "done" { Ok(()) } else { Err(state) }
        })
        .await;
    }

    /// A product with that many free pieces.
    pub(crate) async fn stock_up(&self, sku: &str, pieces: i64) {
        self.admin.put_product(sku, "a product", 100).await.expect("the product is taken");
        if pieces > 0 {
            self.admin.adjust_stock(sku, pieces).await.expect("the stock is taken");
        }
    }

    /// Sends envelopes as the order service's relay does, in order.
    pub(crate) async fn send(&self, envelopes: &[Envelope<OrderEvent>]) {
        let records: Vec<_> = envelopes
            .iter()
            .map(|envelope| envelope.encode(&context_of(envelope)).expect("an event is JSON"))
            .collect();
        for published in self.producer.publish_all(&records).await {
            published.expect("the broker takes the event");
        }
    }

    pub(crate) async fn stock(&self, sku: &str) -> Heaps {
        sqlx::query_as("select loaded, free, held, sold, row_version from stock where sku = $1")
            .bind(sku)
            .fetch_one(&self.owner)
            .await
            .expect("the product has stock")
    }

    pub(crate) async fn status(&self, order_id: Uuid) -> Option<String> {
        sqlx::query_scalar("select status from reservations where order_id = $1")
            .bind(order_id)
            .fetch_optional(&self.owner)
            .await
            .expect("the reservation can be read")
    }

    pub(crate) async fn wait_for_status(&self, order_id: Uuid, status: &str) {
        wait_until(&format!("reservation {order_id} {status}"), SOON, || async {
            match self.status(order_id).await {
                Some(seen) if seen == status => Ok(()),
                seen => Err(seen),
            }
        })
        .await;
    }

    /// Waits until all orders' events of the one partition have been handled. Orders overtake each other, so that a
    /// later one is done tells nothing about those before it.
    pub(crate) async fn wait_until_all_is_handled(&self) {
        let topic = self.names.topic("order-events");
        let group = format!("{}{}", groups::INVENTORY_RESERVE, self.names.group_suffix);
        let sent = self.stack.records(&topic).await.len();
        wait_until("all events are handled and committed", SOON, || async {
            let committed = self.stack.access().committed(&group, &topic, 0).await;
            let offset = committed.map_or(0, |committed| committed.offset);
            if usize::try_from(offset) == Ok(sent) { Ok(()) } else { Err((offset, sent)) }
        })
        .await;
    }

    /// Everything on a topic, once nothing is left to publish.
    pub(crate) async fn records(&self, topic: &str) -> Vec<RawRecord> {
        self.wait_for_empty_outbox().await;
        self.stack.records(&self.names.topic(topic)).await
    }

    /// The types of the events on a topic with this key, in order.
    pub(crate) async fn event_types(&self, topic: &str, key: &str) -> Vec<String> {
        let records = self.records(topic).await;
        let of_key = records.iter().filter(|record| record.key.as_deref() == Some(key.as_bytes()));
        of_key.map(|record| text(&record.json()["type"])).collect()
    }

    /// `action outcome` of each audit record on a resource, in order.
    pub(crate) async fn audited(&self, resource: &str) -> Vec<String> {
        let records = self.records("audit-topic").await;
        let of_resource =
            records.iter().filter(|record| record.key.as_deref() == Some(resource.as_bytes()));
        of_resource
            .map(|record| {
                let payload = &record.json()["payload"];
                format!("{} {}", text(&payload["action"]), text(&payload["outcome"]))
            })
            .collect()
    }

    /// Declares that records went to the dead-letter topic on purpose, and waits for them.
    pub(crate) async fn expect_dead_letters(&mut self, count: usize) -> Vec<RawRecord> {
        self.dead_letters_expected = count;
        let topic = self.names.topic(DEAD_LETTERS);
        wait_until(&format!("{count} dead letter(s)"), SOON, || async {
            let found = self.stack.records(&topic).await;
            if found.len() == count { Ok(found) } else { Err(found.len()) }
        })
        .await
    }

    pub(crate) async fn wait_for_empty_outbox(&self) {
        wait_until("an empty outbox", SOON, || async {
            let left = self.count("select count(*) from outbox").await;
            if left == 0 { Ok(()) } else { Err(left) }
        })
        .await;
    }

    pub(crate) async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.owner).await.expect("a count")
    }

    /// How many ERROR lines of this test program have the text.
    pub(crate) fn error_lines(&self, text: &str) -> usize {
        self.logs.lines_at("ERROR").iter().filter(|line| line.contains(text)).count()
    }

    /// Stops the service and checks what must hold after every test.
    pub(crate) async fn finish(mut self) {
        self.wait_for_empty_outbox().await;
        let unbalanced =
            self.count("select count(*) from stock where loaded <> free + held + sold").await;
        assert_eq!(unbalanced, 0, "loaded = free + held + sold for every product");
        let dead = self.stack.records(&self.names.topic(DEAD_LETTERS)).await;
        assert_eq!(dead.len(), self.dead_letters_expected, "dead letters: {dead:?}");
        let application = self.application.take().expect("the service runs");
        assert!(application.stop().await, "the service stops within its budget");
        let errors: Vec<String> = self.logs.lines_at("ERROR");
        // Tests of one program share the log; a dead letter is an error line of its own by design, and so is stock that
        // doesn't add up.
        let meant = |line: &str| line.contains("dead-letter") || line.contains(OFF);
        let unexpected: Vec<&String> = errors.iter().filter(|line| !meant(line)).collect();
        assert!(unexpected.is_empty(), "unexpected ERROR lines: {unexpected:#?}");
    }
}

impl Drop for TestApp<'_> {
    fn drop(&mut self) {
        if self.application.is_some() && !std::thread::panicking() {
            panic!("the test did not end with finish()");
        }
    }
}

/// One row of the table `stock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Heaps {
    pub(crate) loaded: i64,
    pub(crate) free: i64,
    pub(crate) held: i64,
    pub(crate) sold: i64,
    pub(crate) row_version: i64,
}

impl Heaps {
    /// Without the version, which depends on how events were batched.
    pub(crate) fn pieces(self) -> (i64, i64, i64) {
        (self.free, self.held, self.sold)
    }
}

/// The trace that the order's events belong to: made from its id, so that a test can tell it.
pub(crate) fn trace_id_of(envelope: &Envelope<OrderEvent>) -> String {
    envelope.id.simple().to_string()
}

fn context_of(envelope: &Envelope<OrderEvent>) -> MessageContext {
    MessageContext {
        actor: Some("ann".to_owned()),
        correlation_id: Some("c-1".to_owned()),
        trace: TraceContext {
            traceparent: format!("00-{}-00f067aa0ba902b7-01", trace_id_of(envelope)),
            ..TraceContext::default()
        },
        ..MessageContext::default()
    }
}

pub(crate) fn envelope(event: OrderEvent) -> Envelope<OrderEvent> {
    Envelope::new(Uuid::now_v7(), "order", 1_700_000_000_000, event)
}

pub(crate) fn placed(order_id: Uuid, lines: &[(&str, u32)]) -> Envelope<OrderEvent> {
    let lines = lines.iter().map(|(sku, quantity)| OrderLine {
        sku: (*sku).to_owned(),
        quantity: *quantity,
        unit_price_minor: 100,
    });
    envelope(OrderEvent::Placed(OrderPlaced {
        order_id,
        customer_id: "ann".to_owned(),
        currency: "EUR".to_owned(),
        total_minor: 100,
        lines: lines.collect(),
        placed_at: 1_700_000_000_000,
    }))
}

pub(crate) fn confirmed(order_id: Uuid) -> Envelope<OrderEvent> {
    envelope(OrderEvent::Confirmed(OrderConfirmed { order_id, payment_id: "pay-1".to_owned() }))
}

pub(crate) fn cancelled(order_id: Uuid) -> Envelope<OrderEvent> {
    envelope(OrderEvent::Cancelled(OrderCancelled { order_id, reason: CancelReason::Customer }))
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
