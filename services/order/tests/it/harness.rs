//! The production application on a database, topics, groups and keys of its own, and what is asked of it.

use std::time::Duration;

use millrace_common::envelope::Topic as _;
use millrace_common::scheduler::{self, ScheduleError, TaskId};
use millrace_common::telemetry::{self, TelemetryGuard};
use millrace_common::{Application, coordination, load_settings, outbox};
use millrace_contracts::{Topic, groups};
use millrace_order::startup::build;
use millrace_order::{MIGRATIONS, Settings};
use millrace_testkit::tokens::{self, Issuer};
use millrace_testkit::{Namespace, Stack, TestDatabase, TestTopics, TopicSpec, wait_until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
pub(crate) const PAYMENT_SECRET: &str = "the provider's and our secret";

/// A running service and what it stands on. End each test with [`TestApp::finish`].
pub(crate) struct TestApp {
    pub(crate) application: Application,
    pub(crate) ground: Ground,
    client: reqwest::Client,
    telemetry: TelemetryGuard,
}

/// What one or several instances stand on.
pub(crate) struct Ground {
    pub(crate) stack: &'static Stack,
    pub(crate) namespace: Namespace,
    pub(crate) database: TestDatabase,
    keys: tempfile::TempDir,
    _topics: TestTopics,
}

/// A reply: its status, headers and body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn data(&self, key: &str) -> &str {
        self.body["data"][key].as_str().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The id of the order that was placed.
    pub(crate) fn order(&self) -> Uuid {
        assert_eq!(self.status, StatusCode::ACCEPTED, "{}", self.text);
        self.data("order_id").parse().unwrap()
    }

    /// The names of the fields that are wrong.
    pub(crate) fn fields(&self) -> Vec<&str> {
        let fields = self.body["data"]["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
        fields.iter().filter_map(|field| field["field"].as_str()).collect()
    }
}

impl Ground {
    pub(crate) async fn on(stack: &'static Stack) -> Self {
        let (namespace, keys) = (stack.namespace(), tempfile::tempdir().unwrap());
        Issuer::shared().write_jwks(&keys.path().join("jwks.json")).unwrap();
        let sets =
            [&outbox::MIGRATIONS, &coordination::MIGRATIONS, &scheduler::MIGRATIONS, &MIGRATIONS];
        let database = stack.database("order", &sets).await;
        let mut names: Vec<String> = [
            Topic::OrderEvents,
            Topic::InventoryEvents,
            Topic::ProductChanges,
            Topic::PaymentResults,
            Topic::AuditTopic,
            Topic::RequestLogs,
            Topic::Tasks,
        ]
        .map(|topic| topic.topic_name().to_string())
        .into();
        for (group, topic) in groups::ALL {
            if group.as_str().starts_with("order.") {
                names.push(topic.topic_name().dead_letter(*group).to_string());
            }
        }
        let specs: Vec<TopicSpec> = names.iter().map(|name| TopicSpec::new(name, 2)).collect();
        let _topics = stack.topics(&namespace, &specs).await;
        Self { stack, namespace, database, keys, _topics }
    }

    /// Settings of one instance, with the test's own on top: `("ORDER__PAY_WITHIN", "1ms")`.
    fn settings(&self, overrides: &[(&str, &str)]) -> Settings {
        let redis_port = self.stack.addresses().redis_port.to_string();
        let jwks = self.keys.path().join("jwks.json");
        let mut environment = self.database.env("ORDER");
        for (key, value) in [
            ("HTTP__BIND", "127.0.0.1"),
            ("HTTP__PORT", "0"),
            ("HTTP__ADMIN_PORT", "0"),
            ("HTTP__DEADLINE", "10s"),
            ("SHUTDOWN__DRAIN_DELAY", "0s"),
            ("AUTH__JWKS_FILE", jwks.to_str().unwrap()),
            ("AUTH__ISSUER", tokens::ISSUER),
            ("AUTH__AUDIENCE", tokens::AUDIENCE),
            ("KAFKA__BROKERS", &self.stack.brokers()),
            ("KAFKA__TOPIC_PREFIX", &self.namespace.topic_prefix),
            ("KAFKA__GROUP_SUFFIX", &self.namespace.group_suffix),
            ("REDIS__HOST", "127.0.0.1"),
            ("REDIS__PORT", &redis_port),
            ("REDIS__KEY_PREFIX", &self.namespace.redis_prefix),
            // The tasks run when a test says so.
            ("ORDER__EXPIRY_INTERVAL", "1h"),
            ("ORDER__PAYMENT_SECRET", PAYMENT_SECRET),
            ("ORDER__CURSOR_SECRET", "a secret of the tests, 32 bytes or more"),
        ]
        .iter()
        .chain(overrides)
        {
            environment.push((format!("ORDER__{key}"), (*value).to_owned()));
        }
        load_settings(None, environment).unwrap()
    }

    /// One more instance of the service.
    pub(crate) async fn instance(&self, overrides: &[(&str, &str)]) -> Application {
        build(self.settings(overrides)).await.unwrap()
    }
}

pub(crate) async fn spawn_app() -> TestApp {
    spawn_app_with(&[]).await
}

pub(crate) async fn spawn_app_with(overrides: &[(&str, &str)]) -> TestApp {
    spawn_app_on(Stack::shared().await, overrides).await
}

pub(crate) async fn spawn_app_on(stack: &'static Stack, overrides: &[(&str, &str)]) -> TestApp {
    start(Ground::on(stack).await, overrides).await
}

/// A service on the ground of one that was stopped, or on fresh ground.
pub(crate) async fn start(ground: Ground, overrides: &[(&str, &str)]) -> TestApp {
    let telemetry = telemetry::init_for_tests("order", "");
    let application = ground.instance(overrides).await;
    TestApp { application, ground, client: reqwest::Client::new(), telemetry }
}

/// A body with one line.
pub(crate) fn basket(sku: &str, quantity: i64) -> Value {
    json!({ "lines": [{ "sku": sku, "quantity": quantity }] })
}

impl TestApp {
    pub(crate) fn pool(&self) -> PgPool {
        self.ground.database.app_pool()
    }

    /// A request as somebody; anything about it can still be changed.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        subject: &str,
    ) -> reqwest::RequestBuilder {
        self.anonymous(method, path).bearer_auth(tokens::customer_token(subject))
    }

    pub(crate) fn anonymous(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let port = self.application.port();
        self.client.request(method, format!("http://127.0.0.1:{port}{path}"))
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let reply = request.send().await.unwrap();
        let (status, headers) = (reply.status(), reply.headers().clone());
        let text = reply.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Answer { status, headers, text, body }
    }

    pub(crate) async fn get(&self, path: &str, subject: &str) -> Answer {
        self.send(self.request(Method::GET, path, subject)).await
    }

    /// Places an order under a key.
    pub(crate) async fn place(&self, subject: &str, key: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, "/api/v1/orders", subject);
        self.send(request.header("Idempotency-Key", key).json(body)).await
    }

    /// An order of ann's for two pots of tea (2500 EUR cents), placed.
    pub(crate) async fn placed(&self) -> Uuid {
        self.product("TEA-1", 1250, "EUR").await;
        self.place("ann", &Uuid::now_v7().to_string(), &basket("TEA-1", 2)).await.order()
    }

    /// The same, and its stock is held.
    pub(crate) async fn awaiting_payment(&self) -> Uuid {
        let order = self.placed().await;
        self.hold(order).await;
        self.wait_status(order, "awaiting_payment").await;
        order
    }

    pub(crate) async fn cancel(&self, subject: &str, order: Uuid) -> Answer {
        self.send(self.request(Method::POST, &format!("/api/v1/orders/{order}/cancel"), subject))
            .await
    }

    /// `status` or `status reason`, past the API.
    pub(crate) async fn status(&self, order: Uuid) -> String {
        sqlx::query_scalar(
            "select concat_ws(' ', status, reason) from status_view where order_id = $1",
        )
        .bind(order)
        .fetch_one(&self.pool())
        .await
        .unwrap()
    }

    pub(crate) async fn wait_status(&self, order: Uuid, expected: &str) {
        wait_until(&format!("order is {expected}"), PATIENCE, || async {
            let status = self.status(order).await;
            if status == expected { Ok(()) } else { Err(status) }
        })
        .await;
    }

    /// Waits until the order's only payment is in this state.
    pub(crate) async fn wait_payment(&self, order: Uuid, expected: &str) {
        wait_until(&format!("payment is {expected}"), PATIENCE, || async {
            let state: Option<String> =
                sqlx::query_scalar("select state from payments where order_id = $1")
                    .bind(order)
                    .fetch_optional(&self.pool())
                    .await
                    .unwrap();
            if state.as_deref() == Some(expected) { Ok(()) } else { Err(state) }
        })
        .await;
    }

    /// A product that is sold, as if inventory had told.
    pub(crate) async fn product(&self, sku: &str, price_minor: i64, currency: &str) {
        sqlx::query(
            "insert into products (sku, name, price_minor, currency, sellable, row_version)
             values ($1, $1, $2, $3, true, 1)
             on conflict (sku) do update set price_minor = excluded.price_minor,
                 row_version = products.row_version + 1",
        )
        .bind(sku)
        .bind(price_minor)
        .bind(currency)
        .execute(&self.pool())
        .await
        .unwrap();
    }

    /// How many rows the table has.
    pub(crate) async fn count(&self, table: &'static str) -> i64 {
        let statement = match table {
            "orders" => "select count(*) from orders",
            // What the scheduler sends comes by the clock, not by what a test does.
            "outbox" => {
                "select count(*) from outbox
                 where aggregatetype <> 'task' and aggregateid not like 'task/%'"
            }
            "idempotency" => "select count(*) from idempotency",
            "payments" => "select count(*) from payments",
            other => panic!("no statement for {other}"),
        };
        sqlx::query_scalar(statement).fetch_one(&self.pool()).await.unwrap()
    }

    /// Asks for a run of a task, waits until it is done, and tells the token that it was dispatched under.
    pub(crate) async fn run_task(&self, name: &str) -> Option<i64> {
        let (id, schedules) = (TaskId::parse(name).unwrap(), self.application.schedules().unwrap());
        wait_until(&format!("task {name} is done"), PATIENCE, || async {
            // It is declared once the database is there, and left out while it is at work.
            let instant = match schedules.trigger(&id, "test").await {
                Ok(instant) => instant,
                Err(error @ ScheduleError::Unknown { .. }) => return Err(error.to_string()),
                Err(error) => panic!("{error}"),
            };
            let end = || async {
                let end: Option<(String, Option<i64>)> = sqlx::query_as(
                    "select state, fence from task_occurrence
                     where task = $1 and instant = $2 and ended_at is not null",
                )
                .bind(name)
                .bind(instant)
                .fetch_optional(&self.pool())
                .await
                .unwrap();
                end
            };
            let (state, fence) = wait_until("its end", PATIENCE, end).await;
            if state == "done" { Ok(fence) } else { Err(state) }
        })
        .await
    }

    pub(crate) async fn wait_outbox_empty(&self) {
        wait_until("outbox empty", PATIENCE, || async { self.count("outbox").await == 0 }).await;
    }

    /// How many log lines of this test program have the text.
    pub(crate) fn log_lines(&self, text: &str) -> usize {
        self.telemetry.log_lines().lines().iter().filter(|line| line.contains(text)).count()
    }

    /// Stops the service and checks that nothing was left behind that the test did not say.
    pub(crate) async fn finish(self, dead_letters: usize) {
        self.wait_outbox_empty().await;
        assert_eq!(self.dead_letters().await.len(), dead_letters, "dead letters");
        self.stop().await;
    }

    /// Stops the service; what it stands on stays for the next one.
    pub(crate) async fn stop(self) -> Ground {
        assert!(self.application.stop().await, "the stop took too long");
        assert_no_error_lines(&self.telemetry);
        self.ground
    }

    /// For tests whose broker or database is away: the stop may give things up.
    pub(crate) async fn abandon(self) {
        self.application.stop().await;
        assert_no_error_lines(&self.telemetry);
    }
}

fn assert_no_error_lines(telemetry: &TelemetryGuard) {
    let errors = telemetry.log_lines().lines_at("ERROR");
    let unexpected: Vec<_> = errors.iter().filter(|line| !line.contains("dead-letter")).collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
}
