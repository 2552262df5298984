//! The smallest service that has tasks: nothing dispatches them, and nothing publishes what its outbox keeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_common::http::{AUTH_DEFAULTS, AuthSettings, HTTP_DEFAULTS, HttpSettings};
use millrace_common::messaging::{self, KafkaSettings};
use millrace_common::outbox::{RELAY_DEFAULTS, Relay, RelaySettings};
use millrace_common::runtime::Clock;
use millrace_common::runtime::settings::{Problems, Validate};
use millrace_common::scheduler::{self, ScheduleWaker, Schedules};
use millrace_common::schedules::{self, Entry, Journal};
use millrace_common::telemetry::{self, TelemetryGuard, TelemetrySettings};
use millrace_common::{
    Application, BaseSettings, Chassis, SHUTDOWN_DEFAULTS, ServiceSettings, ShutdownSettings,
    coordination, envelope, load_settings, outbox,
};
use millrace_testkit::tokens::{self, Issuer, TokenClaims};
use millrace_testkit::{Stack, TestDatabase};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;

use crate::harness::answer;

pub(super) const SERVICE: &str = "mill";

envelope::events! {
    /// What a service would publish as its audit record.
    pub(super) enum Told on "told", aggregate "told", key resource {
        "told.changed" v1 => Changed(Change),
    }
}

/// An entry of the journal as an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Change {
    actor: Option<String>,
    action: String,
    resource: String,
    detail: BTreeMap<String, String>,
}

fn event(entry: Entry) -> Told {
    let resource = format!("{}/{}", entry.service, entry.task);
    let Entry { context, action, detail, .. } = entry;
    Told::Changed(Change { actor: context.actor, action, resource, detail })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    http: HttpSettings,
    telemetry: TelemetrySettings,
    shutdown: ShutdownSettings,
    auth: AuthSettings,
    kafka: KafkaSettings,
    outbox: RelaySettings,
}

impl ServiceSettings for Settings {
    const SERVICE: &'static str = SERVICE;
    const ENV_PREFIX: &'static str = "MILL";
    const DEFAULTS: &'static [&'static str] = &[
        HTTP_DEFAULTS,
        telemetry::DEFAULTS,
        SHUTDOWN_DEFAULTS,
        AUTH_DEFAULTS,
        messaging::DEFAULTS,
        RELAY_DEFAULTS,
    ];

    fn base(&self) -> BaseSettings<'_> {
        BaseSettings { http: &self.http, telemetry: &self.telemetry, shutdown: &self.shutdown }
    }
}

impl Validate for Settings {
    fn validate(&self, problems: &mut Problems) {
        self.http.validate(problems);
        self.auth.validate(problems);
        self.kafka.validate(problems);
        self.outbox.validate(problems);
    }
}

/// A running service. End each test with [`Mill::finish`].
pub(super) struct Mill {
    pub(super) schedules: Schedules,
    pub(super) owner: PgPool,
    application: Application,
    client: reqwest::Client,
    token: String,
    _telemetry: TelemetryGuard,
    _database: TestDatabase,
    _keys: tempfile::TempDir,
}

impl Mill {
    pub(super) async fn start() -> Self {
        // Without it there are no spans, and so no traces for the journal.
        let telemetry = telemetry::init_for_tests(SERVICE, "");
        let (stack, keys) = (Stack::shared().await, tempfile::tempdir().unwrap());
        let jwks = keys.path().join("jwks.json");
        Issuer::shared().write_jwks(&jwks).unwrap();
        let sets = [&outbox::MIGRATIONS, &coordination::MIGRATIONS, &scheduler::MIGRATIONS];
        let database = stack.database(SERVICE, &sets).await;
        let environment = [
            ("HTTP__BIND", "127.0.0.1"),
            ("HTTP__PORT", "0"),
            ("HTTP__ADMIN_PORT", "0"),
            // Debug builds on a busy machine: a slow answer is not what these tests are about.
            ("HTTP__DEADLINE", "10s"),
            ("SHUTDOWN__DRAIN_DELAY", "0s"),
            ("AUTH__JWKS_FILE", jwks.to_str().unwrap()),
            ("AUTH__ISSUER", tokens::ISSUER),
            ("AUTH__AUDIENCE", tokens::AUDIENCE),
            ("KAFKA__BROKERS", &stack.brokers()),
        ];
        let environment = environment.map(|(key, value)| (format!("MILL__{key}"), value.into()));
        let settings: Settings = load_settings(None, environment.into()).unwrap();
        let mut chassis = Chassis::new(&settings);
        chassis.verifier(&settings.auth).unwrap();
        let pool = database.app_pool();
        let relay = Relay::new(&pool, &settings.kafka, settings.outbox.clone(), SERVICE).waker();
        let journal = Arc::new(Journal::new(SERVICE, Clock::system(), event));
        let schedules = Schedules::new(pool, ScheduleWaker::default(), relay, journal);
        let mounted = schedules.clone();
        let application =
            chassis.serve(move |config| schedules::routes(config, mounted.clone())).await.unwrap();
        Self {
            schedules,
            owner: database.owner_pool(),
            application,
            client: reqwest::Client::new(),
            token: tokens::admin_token(),
            _telemetry: telemetry,
            _database: database,
            _keys: keys,
        }
    }

    /// A request of nobody.
    pub(super) fn anonymous(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://127.0.0.1:{}{path}", self.application.port());
        self.client.request(method.parse().unwrap(), url)
    }

    /// A request of an administrator.
    pub(super) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.token)
    }

    /// Status and `data` of what has no body.
    pub(super) async fn ask(&self, method: &str, path: &str) -> (u16, Value) {
        let (status, reply) = answer(self.request(method, path)).await;
        (status, reply["data"].clone())
    }

    /// Status and `data` of what has one.
    pub(super) async fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let (status, reply) = answer(self.request(method, path).json(body)).await;
        (status, reply["data"].clone())
    }

    /// Status, code and the names of the fields that are wrong.
    pub(super) async fn refusal(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, String, Vec<String>) {
        let request = self.request(method, path);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        let (status, reply) = answer(request).await;
        let fields = reply["data"]["fields"].as_array().cloned().unwrap_or_default();
        let field = |field: &Value| field["field"].as_str().unwrap().to_owned();
        let fields = fields.iter().map(field).collect();
        (status, reply["code"].as_str().unwrap().to_owned(), fields)
    }

    /// The journal's entries so far, in the order of their changes.
    pub(super) async fn told(&self) -> Vec<Value> {
        let payloads: Vec<String> =
            sqlx::query_scalar("select payload from outbox order by created_at, seq")
                .fetch_all(&self.owner)
                .await
                .unwrap();
        let entry = |text: &String| {
            let envelope: Value = serde_json::from_str(text).unwrap();
            envelope["payload"].clone()
        };
        payloads.iter().map(entry).collect()
    }

    pub(super) async fn finish(self) {
        assert!(self.application.stop().await, "the stop took too long");
    }
}

/// The subject of the administrator's token.
pub(super) fn admin() -> String {
    TokenClaims::admin().subject
}
