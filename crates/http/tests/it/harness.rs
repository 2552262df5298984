//! A server with a few routes on port 0, and what a test asks of it.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use actix_web::web::{self, ServiceConfig};
use millrace_http::auth::ROLE_ADMIN;
use millrace_http::{
    ApiError, AuthSettings, Authenticate, Caller, Health, HttpSettings, Json, Path, Query, RawBody,
    Reply, RequestDeadline, RequestLog, RequestRecord, RunningServer, Server, ServerParts,
    Verifier, codes,
};
use millrace_runtime::settings::ByteSize;
use millrace_runtime::{Clock, Shutdown};
use millrace_telemetry::{TelemetryGuard, init_for_tests};
use millrace_testkit::tokens::{AUDIENCE, ISSUER};
use millrace_testkit::{Issuer, SpanCollector, wait_until};
use reqwest::{Client, RequestBuilder, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) static COLLECTOR: LazyLock<SpanCollector> = LazyLock::new(SpanCollector::start);
static TELEMETRY: LazyLock<TelemetryGuard> =
    LazyLock::new(|| init_for_tests("http-test", &COLLECTOR.endpoint()));

/// Records kept for a look.
#[derive(Clone, Default)]
pub(crate) struct Records(Arc<Mutex<Vec<RequestRecord>>>);

impl Records {
    pub(crate) fn all(&self) -> Vec<RequestRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl RequestLog for Records {
    fn record(&self, record: RequestRecord) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record);
    }
}

/// A running server.
pub(crate) struct App {
    pub(crate) server: RunningServer,
    pub(crate) shutdown: Shutdown,
    pub(crate) health: Health,
    pub(crate) records: Records,
    pub(crate) issuer: Issuer,
    pub(crate) keys: tempfile::TempDir,
    client: Client,
}

impl App {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    /// Must be called inside the test's runtime, which is the service's runtime here.
    pub(crate) fn with(adjust: impl FnOnce(&mut HttpSettings)) -> Self {
        LazyLock::force(&TELEMETRY);
        let mut settings = HttpSettings {
            bind: "127.0.0.1".to_owned(),
            port: 0,
            admin_port: 0,
            workers: 1,
            connections_max: 100,
            body_max: ByteSize::kib(16),
            header_max: ByteSize::kib(4),
            keep_alive: Duration::from_secs(5),
            head_timeout: Duration::from_secs(2),
            deadline: Duration::from_secs(5),
            health_timeout: Duration::from_millis(300),
        };
        adjust(&mut settings);
        let keys = tempfile::tempdir().unwrap();
        let issuer = Issuer::generate().unwrap();
        issuer.write_jwks(&keys.path().join("jwks.json")).unwrap();
        let shutdown = Shutdown::new();
        let health = Health::new(shutdown.clone(), settings.health_timeout);
        let records = Records::default();
        let mut parts = ServerParts::new(health.clone());
        parts.verifier = Some(Verifier::from_settings(&auth_settings(keys.path())).unwrap());
        parts.request_log = Some(Arc::new(records.clone()));
        parts.openapi = Some(<Description as utoipa::OpenApi>::openapi());
        let server = Server::bind("http-test", &settings, parts, routes).unwrap().start();
        Self { server, shutdown, health, records, issuer, keys, client: Client::new() }
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(method.parse().unwrap(), self.url(path))
    }

    pub(crate) fn admin(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("http://127.0.0.1:{}{path}", self.server.admin_port()))
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.server.port())
    }
}

pub(crate) fn auth_settings(keys: &std::path::Path) -> AuthSettings {
    AuthSettings {
        jwks_file: keys.join("jwks.json"),
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        algorithms: vec!["RS256".to_owned(), "EdDSA".to_owned()],
        leeway: Duration::from_secs(1),
        // Looks at the file for each token, so that a test needn't wait.
        reload_interval: Duration::from_millis(1),
    }
}

/// Status and body of an answer in the reply form.
pub(crate) async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, body(response).await)
}

pub(crate) async fn body(response: Response) -> Value {
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text:?}"))
}

/// A new trace as a header's value, with its id.
pub(crate) fn new_trace() -> (String, String) {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let trace_id = format!("{:016x}{number:016x}", Clock::system().now_ms());
    (format!("00-{trace_id}-00000000000000aa-01"), trace_id)
}

/// The log lines of one trace.
pub(crate) fn lines_of(trace_id: &str) -> Vec<Value> {
    let lines = TELEMETRY.log_lines().lines();
    let lines = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["trace_id"] == trace_id).collect()
}

#[derive(utoipa::OpenApi)]
#[openapi(info(title = "test", version = "1"))]
struct Description;

#[derive(Debug, Deserialize, Serialize)]
struct Basket {
    owner: Option<String>,
    lines: Vec<Line>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    sku: String,
    quantity: u32,
}

#[derive(Debug, Deserialize)]
struct Page {
    limit: Option<u16>,
}

fn routes(config: &mut ServiceConfig) {
    config
        .service(web::resource("/baskets").post(post_basket).get(list_baskets))
        .service(web::resource("/baskets/{id}").get(get_basket))
        .service(web::resource("/raw").post(post_raw))
        .service(web::resource("/replayed").get(replayed))
        .service(web::resource("/panics").get(panics))
        .service(web::resource("/fails").get(fails))
        .service(web::resource("/away").get(away))
        .service(web::resource("/slow/{millis}").get(slow))
        .service(web::resource("/deadline").get(deadline))
        .service(web::resource("/task").get(task))
        .service(web::resource("/me").get(me))
        .service(web::resource("/boss").get(boss))
        .service(
            web::scope("/guarded")
                .wrap(Authenticate::caller())
                .service(web::resource("/open").get(|| async { Reply::ok("in") }))
                .service(
                    web::scope("/admin")
                        .wrap(Authenticate::role(ROLE_ADMIN))
                        .service(web::resource("/open").get(|| async { Reply::ok("in") })),
                ),
        );
}

async fn post_basket(basket: Json<Basket>) -> Reply {
    Reply::created(&basket.0)
}

async fn list_baskets(page: Query<Page>) -> Reply {
    Reply::ok(page.0.limit)
}

async fn get_basket(id: Path<u32>) -> Reply {
    Reply::ok(id.0)
}

async fn post_raw(body: RawBody) -> Reply {
    Reply::accepted(body.0.len())
}

async fn replayed() -> Reply {
    Reply::raw(202, r#"{"code":"ok","message":"accepted","data":{"id":7}}"#)
}

async fn panics() -> Reply {
    panic!("secret of the house")
}

async fn fails() -> Result<Reply, ApiError> {
    Err(ApiError::internal(std::io::Error::other("select * from secrets")))
}

async fn away() -> Result<Reply, ApiError> {
    Err(ApiError::unavailable(Duration::from_secs(2), std::io::Error::other("connection refused")))
}

/// The lengths of the `/slow` requests that are being or were handled; each test asks for lengths of its own.
static SLOW: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

/// Waits until the handler of `/slow/{millis}` runs.
pub(crate) async fn slow_is_handled(millis: u64) {
    wait_until("the slow request is being handled", Duration::from_secs(10), || async {
        SLOW.lock().unwrap_or_else(PoisonError::into_inner).contains(&millis)
    })
    .await;
}

async fn slow(millis: Path<u64>) -> Reply {
    SLOW.lock().unwrap_or_else(PoisonError::into_inner).insert(millis.0);
    tokio::time::sleep(Duration::from_millis(millis.0)).await;
    Reply::ok(())
}

async fn deadline(deadline: RequestDeadline) -> Reply {
    Reply::ok(deadline.0.left(Clock::system().monotonic()).as_millis())
}

/// Says on which thread a task runs that a handler started.
#[expect(
    clippy::disallowed_methods,
    reason = "the point is where a bare task of a library would run"
)]
async fn task() -> Result<Reply, ApiError> {
    let name = tokio::spawn(async { std::thread::current().name().map(str::to_owned) });
    Ok(Reply::ok(name.await.map_err(ApiError::internal)?))
}

async fn me(caller: Caller) -> Reply {
    Reply::ok(serde_json::json!({ "subject": caller.subject, "tenant": caller.tenant }))
}

async fn boss(admin: millrace_http::Admin) -> Result<Reply, ApiError> {
    if admin.0.subject == "nobody" {
        return Err(ApiError::new(&codes::FORBIDDEN, "nobody is nobody"));
    }
    Ok(Reply::ok(admin.0.subject))
}
