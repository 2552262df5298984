//! The five services on one stack, wired as `make up` wires them.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_common::envelope::Topic as _;
use millrace_common::{coordination, outbox, scheduler};
use millrace_contracts::groups;
use millrace_contracts::topics::{Cleanup, Profile, all_specs};
use millrace_testkit::api::{Api, Reply, failure_for, success_for};
use millrace_testkit::ledger::{Books, Ledger};
use millrace_testkit::otlp::SpanCollector;
use millrace_testkit::tokens::{self, Issuer};
use millrace_testkit::{Namespace, Stack, TestDatabase, TestTopics, TopicSpec, wait_until};
use serde_json::Value;
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use tempfile::TempDir;
use uuid::Uuid;

use crate::{PATIENCE, Service};

static ORDER: Migrator = sqlx::migrate!("../../services/order/migrations");
static INVENTORY: Migrator = sqlx::migrate!("../../services/inventory/migrations");
static AUDIT: Migrator = sqlx::migrate!("../../services/audit/migrations");
static LOGS: Migrator = sqlx::migrate!("../../services/log-ingest/migrations");

/// Signs payment callbacks in tests.
pub const PAYMENT_SECRET: &str = "payment-secret-of-the-system-tests";
const CURSOR_SECRET: &str = "cursor-secret-of-the-system-tests-0123456789";

/// What a test wants to be different.
#[derive(Default)]
pub struct Start {
    /// A stack of the test's own, to break; otherwise the shared one.
    pub stack: Option<Stack>,
    /// More settings by service (`order`) and key without prefix (`ORDER__PAY_WITHIN`).
    pub settings: Vec<(&'static str, &'static str, String)>,
    /// A second instance of the order service.
    pub two_order_instances: bool,
}

/// All services of one test.
pub struct System {
    /// The gateway.
    pub gateway: Service,
    /// The order service.
    pub order: Service,
    /// Its second instance, when asked for.
    pub order_2: Option<Service>,
    /// The inventory service.
    pub inventory: Service,
    /// The audit service.
    pub audit: Service,
    /// The log-ingest service.
    pub log_ingest: Service,
    /// Where all of them send their spans.
    pub spans: SpanCollector,
    /// The test's names on the stack.
    pub namespace: Namespace,
    /// A customer at the gateway.
    pub api: Api,
    /// An administrator at the gateway.
    pub admin: Api,
    databases: BTreeMap<&'static str, TestDatabase>,
    stack: Held,
    _topics: TestTopics,
    _files: TempDir,
}

enum Held {
    Shared(&'static Stack),
    Own(Box<Stack>),
}

impl System {
    /// Everything started and ready, no product known yet.
    pub async fn start() -> Self {
        Self::start_with(Start::default()).await
    }

    /// Everything started and ready, with what the test wants to be different.
    pub async fn start_with(start: Start) -> Self {
        let stack = match start.stack {
            Some(stack) => Held::Own(Box::new(stack)),
            None => Held::Shared(Stack::shared().await),
        };
        let namespace = stack.get().namespace();
        let topics = stack.get().topics(&namespace, &topic_specs()).await;
        let databases = databases(stack.get()).await;
        let files = tempfile::tempdir().expect("a temporary directory");
        let jwks = files.path().join("jwks.json");
        Issuer::shared().write_jwks(&jwks).expect("the key set is written");
        let spans = SpanCollector::start();
        let routes = files.path().join("routes.yaml");
        std::fs::write(&routes, patient_routes()).expect("the route table is written");
        let wiring = Wiring {
            stack: stack.get(),
            namespace: &namespace,
            databases: &databases,
            jwks: jwks.display().to_string(),
            routes: routes.display().to_string(),
            otlp: spans.endpoint(),
            settings: &start.settings,
        };
        let order = wiring.service("order");
        let order_2 = start.two_order_instances.then(|| wiring.service("order"));
        let inventory = wiring.service("inventory");
        let audit = wiring.service("audit");
        let log_ingest = wiring.service("log-ingest");
        let gateway = wiring.gateway(&order, &inventory, &audit, &log_ingest);
        for service in
            [&order, &inventory, &audit, &log_ingest, &gateway].into_iter().chain(&order_2)
        {
            service.launch().await;
        }
        for service in
            [&order, &inventory, &audit, &log_ingest, &gateway].into_iter().chain(&order_2)
        {
            service.wait_ready().await;
        }
        let api = Api::new(gateway.url(), tokens::customer_token("customer-1"));
        let admin = api.with_token(tokens::admin_token());
        Self {
            gateway,
            order,
            order_2,
            inventory,
            audit,
            log_ingest,
            spans,
            api,
            admin,
            databases,
            namespace,
            stack,
            _topics: topics,
            _files: files,
        }
    }

    /// The stack under the services; breakable when the test brought its own.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        self.stack.get()
    }

    /// A service's database as its owner: what a test looks at and never writes.
    #[must_use]
    pub fn database(&self, service: &str) -> PgPool {
        self.databases[service].owner_pool()
    }

    /// Makes a product known everywhere, with `pieces` in stock.
    pub async fn stock(&self, sku: &str, price_minor: i64, pieces: i64) {
        self.admin.put_product(sku, sku, price_minor).await.expect("the product is accepted");
        self.admin.adjust_stock(sku, pieces).await.expect("the stock is accepted");
        let database = self.database("order");
        wait_until(&format!("the order service knows {sku}"), PATIENCE, || async {
            sqlx::query_scalar::<_, bool>("select exists (select from products where sku = $1)")
                .bind(sku)
                .fetch_one(&database)
                .await
                .is_ok_and(|known| known)
        })
        .await;
    }

    /// Places an order that must be accepted; its id.
    pub async fn place(&self, lines: &[(&str, u32)]) -> Uuid {
        let reply = self.api.place(&Uuid::now_v7().to_string(), lines).await.expect("an answer");
        assert_eq!(reply.status, 202, "{}", reply.body);
        reply.order_id()
    }

    /// Places an order as the docs tell clients to: unanswered requests are repeated under the same key, and not before
    /// the time that a refusal names.
    pub async fn place_stubbornly(&self, lines: &[(&str, u32)]) -> Uuid {
        let key = Uuid::now_v7().to_string();
        wait_until("the order is accepted", PATIENCE, || async {
            let reply = self.api.place(&key, lines).await.map_err(|error| format!("{error:#}"))?;
            if reply.status == 202 {
                return Ok(reply.order_id());
            }
            let after =
                reply.headers.get("retry-after").and_then(|it| it.to_str().ok()?.parse().ok());
            tokio::time::sleep(Duration::from_secs(after.unwrap_or(1))).await;
            Err(reply.body.to_string())
        })
        .await
    }

    /// Waits for an order's state.
    pub async fn wait_for(&self, order: Uuid, status: &str) -> Value {
        self.api.wait_for_status(order, status, PATIENCE).await
    }

    /// The provider took the money for an order as it stands.
    pub async fn pay(&self, order: Uuid) -> Reply {
        let order = self.api.order(order).await.expect("an answer").data().clone();
        self.payment_result(&success_for(&order)).await
    }

    /// The provider could not take the money.
    pub async fn fail_payment(&self, order: Uuid) -> Reply {
        let order = self.api.order(order).await.expect("an answer").data().clone();
        self.payment_result(&failure_for(&order)).await
    }

    /// The provider says `result`.
    pub async fn payment_result(&self, result: &Value) -> Reply {
        self.api.payment_result(PAYMENT_SECRET, result).await.expect("an answer")
    }
}

impl System {
    /// Waits until all books balance; see [`Ledger::problems`] for what that means. No dead letter may exist.
    pub async fn assert_ledger(&self) -> Ledger {
        self.ledger(PATIENCE).await.unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// [`System::assert_ledger`] for programs that report instead of panicking.
    ///
    /// # Errors
    /// What still doesn't fit after `patience`, or the dead letters.
    pub async fn ledger(&self, patience: Duration) -> Result<Ledger, String> {
        let books = Books {
            order: self.database("order"),
            inventory: self.database("inventory"),
            audit: self.database("audit"),
        };
        let ledger = books.balanced(patience).await;
        let ledger = ledger.map_err(|problems| format!("the books don't balance: {problems}"))?;
        for (group, topic) in groups::ALL {
            let topic = topic.topic_name().dead_letter(*group);
            let dead = self.stack().committed_records(&self.namespace.topic(topic.as_str())).await;
            if let Some(first) = dead.first() {
                return Err(format!("{topic} has {} dead letters: {first:?}", dead.len()));
            }
        }
        Ok(ledger)
    }
}

impl Held {
    fn get(&self) -> &Stack {
        match self {
            Self::Shared(stack) => stack,
            Self::Own(stack) => stack,
        }
    }
}

fn topic_specs() -> Vec<TopicSpec> {
    let specs = all_specs().into_iter().map(|spec| {
        let topic = TopicSpec::new(spec.name.as_str(), Profile::Test.partitions());
        match spec.cleanup {
            Cleanup::Delete => topic,
            Cleanup::Compact => topic.with("cleanup.policy", "compact"),
        }
    });
    specs.collect()
}

async fn databases(stack: &Stack) -> BTreeMap<&'static str, TestDatabase> {
    // The service's own behind those of the outbox, the fence and the scheduler.
    let set = |own| [&outbox::MIGRATIONS, &coordination::MIGRATIONS, &scheduler::MIGRATIONS, own];
    BTreeMap::from([
        ("order", stack.database("order", &set(&ORDER)).await),
        ("inventory", stack.database("inventory", &set(&INVENTORY)).await),
        ("audit", stack.database("audit", &[&AUDIT]).await),
        ("log-ingest", stack.database("logs", &set(&LOGS)).await),
    ])
}

/// What all services' settings are made from.
/// The gateway's own table with deadlines for debug builds on a busy machine.
fn patient_routes() -> String {
    const DEADLINE: &str = "    deadline: ";
    let table = include_str!("../../../services/gateway/config/routes.yaml");
    let patient = |line| match str::strip_prefix(line, DEADLINE) {
        Some(_) => format!("{DEADLINE}9s\n"),
        None => format!("{line}\n"),
    };
    table.lines().map(patient).collect()
}

struct Wiring<'a> {
    stack: &'a Stack,
    namespace: &'a Namespace,
    databases: &'a BTreeMap<&'static str, TestDatabase>,
    jwks: String,
    routes: String,
    otlp: String,
    settings: &'a [(&'static str, &'static str, String)],
}

impl Wiring<'_> {
    fn service(&self, name: &'static str) -> Service {
        let (binary, prefix) = match name {
            "order" => ("millrace-order", "ORDER"),
            "inventory" => ("millrace-inventory", "INVENTORY"),
            "audit" => ("millrace-audit", "AUDIT"),
            "log-ingest" => ("millrace-log-ingest", "LOG_INGEST"),
            other => panic!("no service {other}"),
        };
        let mut environment = self.common();
        let database = self.databases[name].env("X").into_iter();
        environment.extend(database.map(|(key, value)| (key.replacen("X__", "", 1), value)));
        match name {
            "order" => {
                environment.extend(self.redis(name));
                environment.push(("ORDER__PAYMENT_SECRET".to_owned(), PAYMENT_SECRET.to_owned()));
                environment.push(("ORDER__CURSOR_SECRET".to_owned(), CURSOR_SECRET.to_owned()));
            }
            "audit" => {
                environment.push(("SEARCH__CURSOR_SECRET".to_owned(), CURSOR_SECRET.to_owned()));
            }
            "log-ingest" => {
                environment.extend(self.redis(name));
                environment.push(("SEARCH__CURSOR_SECRET".to_owned(), CURSOR_SECRET.to_owned()));
            }
            "inventory" => environment.extend(self.redis(name)),
            _ => {}
        }
        environment.extend(self.wanted(name));
        Service::new(binary, prefix, environment)
    }

    fn gateway(
        &self,
        order: &Service,
        inventory: &Service,
        audit: &Service,
        logs: &Service,
    ) -> Service {
        let mut environment = self.common();
        for (key, service) in
            [("ORDER", order), ("INVENTORY", inventory), ("AUDIT", audit), ("LOG_INGEST", logs)]
        {
            environment.push((format!("UPSTREAMS__{key}"), service.url()));
        }
        environment.push(("GATEWAY__ROUTES_FILE".to_owned(), self.routes.clone()));
        environment.extend(self.wanted("gateway"));
        Service::new("millrace-gateway", "GATEWAY", environment)
    }

    fn common(&self) -> Vec<(String, String)> {
        let mut environment = vec![
            ("KAFKA__BROKERS", self.stack.brokers()),
            ("KAFKA__TOPIC_PREFIX", self.namespace.topic_prefix.clone()),
            ("KAFKA__GROUP_SUFFIX", self.namespace.group_suffix.clone()),
            ("AUTH__JWKS_FILE", self.jwks.clone()),
            ("AUTH__ISSUER", tokens::ISSUER.to_owned()),
            ("AUTH__AUDIENCE", tokens::AUDIENCE.to_owned()),
            ("TELEMETRY__OTLP_ENDPOINT", self.otlp.clone()),
            ("SHUTDOWN__DRAIN_DELAY", "0s".to_owned()),
            // A killed member's partitions must not wait half a minute for their next owner.
            ("KAFKA__SESSION_TIMEOUT", "6s".to_owned()),
            ("KAFKA__HEARTBEAT_INTERVAL", "1s".to_owned()),
            // Debug builds on a busy machine: a slow answer is not what these tests are about.
            ("HTTP__DEADLINE", "10s".to_owned()),
        ];
        environment.retain(|(_, value)| !value.is_empty());
        environment.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// As in production each service has its own prefix.
    fn redis(&self, service: &str) -> Vec<(String, String)> {
        vec![
            ("REDIS__PORT".to_owned(), self.stack.addresses().redis_port.to_string()),
            ("REDIS__HOST".to_owned(), "127.0.0.1".to_owned()),
            ("REDIS__KEY_PREFIX".to_owned(), format!("{}{service}:", self.namespace.redis_prefix)),
        ]
    }

    fn wanted(&self, service: &str) -> Vec<(String, String)> {
        let wanted = self.settings.iter().filter(|(name, ..)| *name == service);
        wanted.map(|(_, key, value)| ((*key).to_owned(), value.clone())).collect()
    }
}
