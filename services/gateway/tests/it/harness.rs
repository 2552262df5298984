//! The production application on port 0, with a clock that tests move and the upstream that they command.

use std::sync::LazyLock;
use std::time::Duration;

use chrono::DateTime;
use millrace_common::envelope::Topic as _;
use millrace_common::runtime::{Clock, Tasks};
use millrace_common::telemetry::{self, TelemetryGuard};
use millrace_common::{Application, load_settings};
use millrace_contracts::Topic;
use millrace_gateway::{Settings, startup};
use millrace_testkit::tokens::{Issuer, customer_token};
use millrace_testkit::{Namespace, SpanCollector, Stack, TestTopics, TopicSpec};
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::upstream::{FakeUpstream, NAMES};

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) static COLLECTOR: LazyLock<SpanCollector> = LazyLock::new(SpanCollector::start);
static TELEMETRY: LazyLock<TelemetryGuard> =
    LazyLock::new(|| telemetry::init_for_tests("gateway", &COLLECTOR.endpoint()));

/// A running gateway. End each test with [`TestGateway::finish`].
pub(crate) struct TestGateway {
    pub(crate) application: Application,
    pub(crate) upstream: FakeUpstream,
    pub(crate) clock: Clock,
    pub(crate) tasks: Tasks,
    pub(crate) stack: &'static Stack,
    pub(crate) namespace: Namespace,
    client: Client,
    _topics: TestTopics,
    _files: tempfile::TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) async fn spawn() -> TestGateway {
    spawn_with(&[]).await
}

/// The table that the gateway is built with.
pub(crate) const ROUTES: &str = include_str!("../../config/routes.yaml");

/// The same with deadlines for debug builds on a busy machine.
fn patient_routes() -> String {
    ROUTES.replace("deadline: 1s", "deadline: 10s").replace("deadline: 2s", "deadline: 10s")
}

/// With settings of the test's own, `("GATEWAY__CORS_ORIGINS", "https://shop.example")`; `routes:` as a key gives
/// the text of a route table.
pub(crate) async fn spawn_with(overrides: &[(&str, &str)]) -> TestGateway {
    LazyLock::force(&TELEMETRY);
    let (stack, tasks) = (Stack::shared().await, Tasks::new());
    let (namespace, files) = (stack.namespace(), tempfile::tempdir().unwrap());
    let topic = TopicSpec::new(Topic::RequestLogs.topic_name().to_string(), 1);
    let topics = stack.topics(&namespace, &[topic]).await;
    let upstream = FakeUpstream::start(&tasks);
    let jwks = files.path().join("jwks.json");
    Issuer::shared().write_jwks(&jwks).unwrap();

    let mut environment: Vec<(String, String)> = Vec::new();
    let mut set =
        |key: &str, value: &str| environment.push((format!("GATEWAY__{key}"), value.to_owned()));
    for (key, value) in [
        ("HTTP__BIND", "127.0.0.1"),
        ("HTTP__PORT", "0"),
        ("HTTP__ADMIN_PORT", "0"),
        ("SHUTDOWN__DRAIN_DELAY", "0s"),
        ("AUTH__JWKS_FILE", jwks.to_str().unwrap()),
        ("KAFKA__BROKERS", &stack.brokers()),
        ("KAFKA__TOPIC_PREFIX", &namespace.topic_prefix),
    ] {
        set(key, value);
    }
    for (name, port) in NAMES.iter().zip(upstream.ports) {
        let key = format!("UPSTREAMS__{}", name.replace('-', "_").to_uppercase());
        set(&key, &format!("http://127.0.0.1:{port}"));
    }
    let routes = files.path().join("routes.yaml");
    std::fs::write(&routes, patient_routes()).unwrap();
    set("GATEWAY__ROUTES_FILE", routes.to_str().unwrap());
    for (key, value) in overrides {
        if *key == "routes:" {
            std::fs::write(&routes, value).unwrap();
        } else {
            set(key, value);
        }
    }
    let settings: Settings = load_settings(None, environment).unwrap();
    let clock = Clock::manual(DateTime::UNIX_EPOCH);
    let application = startup::build_with(settings, clock.clone()).await.unwrap();
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let (_topics, _files) = (topics, files);
    TestGateway { application, upstream, clock, tasks, stack, namespace, client, _topics, _files }
}

impl TestGateway {
    /// A request of a customer.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(customer_token("ann"))
    }

    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.application.port())
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn admin(&self, path: &str) -> Reply {
        let url = format!("http://127.0.0.1:{}{path}", self.application.admin_port());
        send(self.client.get(url)).await
    }

    pub(crate) async fn metrics(&self) -> String {
        let url = format!("http://127.0.0.1:{}/metrics", self.application.admin_port());
        self.client.get(url).send().await.unwrap().text().await.unwrap()
    }

    /// Sends bytes that no HTTP client would and returns what came back until the connection ended.
    pub(crate) async fn raw(&self, request: &str) -> String {
        let mut connection =
            TcpStream::connect(("127.0.0.1", self.application.port())).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = connection.read_to_end(&mut answer);
        tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Stops it and checks that nothing went wrong unseen.
    pub(crate) async fn finish(self) {
        self.upstream.release();
        assert!(self.application.stop().await, "the stop took too long");
        let errors = TELEMETRY.log_lines().lines_at("ERROR");
        assert!(errors.is_empty(), "{errors:?}");
    }
}

pub(crate) async fn send(request: RequestBuilder) -> Reply {
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let text = answer.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Reply { status, headers, body }
}
