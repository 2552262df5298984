//! From an HTTP request to the handler of its record, at a steady rate.
//!
//! On the product's side the request passes the whole chain of the HTTP server, its row the relay, its record the
//! consumer. On the bare side a plain actix handler writes the same row, and the bare poller and consumer do the rest.
//! Time counts from the moment at which the request was due.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, HttpResponse, HttpServer};
use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use millrace_benches::http_client::{Connection, host_of};
use millrace_common::http::{
    ApiError, Health, Json, Reply, RunningServer, Server, ServerParts, actor_context,
};
use millrace_common::outbox::{OutboxRecord, append};
use millrace_common::runtime::{Clock, Shutdown};
use serde::Deserialize;
use serde_json::json;
use sqlx::PgPool;
use tokio::time::Instant;

use crate::job::{Measured, Side};
use crate::ledger::Marks;
use crate::path::{Arrivals, Carriage, KEYS, Waker, lane, pool, row, set_of};
use crate::records::{context, note};
use crate::settings::Settings;
use crate::target::measured;
use crate::usage::Mark;

/// Connections that ask side by side; each has its own keys.
const LANES: u32 = 50;
/// Connections to the database, as a service has by default.
const POOL: u32 = 10;
const WORKERS: usize = 2;
const HEALTH_LIMIT: Duration = Duration::from_secs(1);
const STOP_BUDGET: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TakeNote {
    key: u32,
    number: u32,
}

/// What handlers share.
#[derive(Debug, Clone)]
struct Shared {
    pool: PgPool,
    waker: Waker,
}

/// Requests come at `rate`.
pub(crate) async fn measure(
    settings: &Settings,
    rate: u32,
    span: Duration,
    by: Side,
    database_url: &str,
) -> Result<Measured> {
    let set = set_of(rate, span)?;
    let arrivals = Arrivals::new(set);
    let pool = pool(database_url, POOL).await?;
    let carriage = Carriage::start(settings, by, &pool, database_url, &arrivals).await?;
    let service = Service::start(settings, by, Shared { pool, waker: carriage.waker() })?;
    let url = service.url();
    let mut connections = try_join_all((0..LANES).map(|_| Connection::open(&url))).await?;
    for (key, number) in set.numbered().take(KEYS as usize) {
        ask(&mut connections[0], &url, key, number).await?;
    }
    arrivals.reached(KEYS).await?;
    let (start, start_mark) = (Instant::now(), Mark::now());
    let lanes = connections.into_iter().zip(0..).map(|(connection, number)| {
        let (connection, url) = (Arc::new(tokio::sync::Mutex::new(connection)), url.as_str());
        lane(set, (number, LANES), start, rate, move |_, key, number, due| {
            let connection = Arc::clone(&connection);
            async move {
                ask(&mut *connection.lock().await, url, key, number).await?;
                Ok(due)
            }
        })
    });
    let due = try_join_all(lanes).await?.concat();
    arrivals.reached(set.count).await?;
    let end = Mark::now();
    service.stop().await;
    carriage.close().await?;
    let records = u64::from(set.count - KEYS);
    let marks = Marks { start: start_mark, middle: start_mark, end, records };
    let latencies_ms = arrivals.latencies_ms(&due);
    Ok(Measured { latencies_ms, ..measured(Some(marks), arrivals.promise()) })
}

async fn ask(connection: &mut Connection, url: &str, key: u32, number: u32) -> Result<()> {
    let body = format!(r#"{{"key":{key},"number":{number}}}"#);
    let request = format!(
        "POST /api/v1/notes HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         traceparent: {}\r\nContent-Length: {}\r\n\r\n{body}",
        host_of(url),
        context(key, number).trace.traceparent,
        body.len()
    );
    let (status, body) = connection.ask(request.as_bytes()).await?;
    ensure!(status == 202, "{status}: {}", String::from_utf8_lossy(&body));
    Ok(())
}

/// The service under load.
enum Service {
    Product(RunningServer),
    Bare { port: u16, handle: actix_web::dev::ServerHandle },
}

impl Service {
    fn start(settings: &Settings, by: Side, shared: Shared) -> Result<Self> {
        match by {
            Side::Product => {
                let health = Health::new(Shutdown::new(), HEALTH_LIMIT);
                let routes = move |config: &mut ServiceConfig| {
                    config
                        .app_data(Data::new(shared.clone()))
                        .service(web::resource("/api/v1/notes").route(web::post().to(take_note)));
                };
                let bound =
                    Server::bind("bench", &settings.http, ServerParts::new(health), routes)?;
                Ok(Self::Product(bound.start()))
            }
            Side::Bare => {
                let listener = TcpListener::bind(("127.0.0.1", 0)).context("listening")?;
                let port = listener.local_addr().context("asking for the port")?.port();
                let server = HttpServer::new(move || {
                    App::new()
                        .app_data(Data::new(shared.clone()))
                        .route("/api/v1/notes", web::post().to(take_bare_note))
                });
                // The lanes' connections wait through the warm-up, on either side as long.
                let server = server.client_request_timeout(settings.http.head_timeout);
                let server = server.workers(WORKERS).disable_signals().listen(listener)?.run();
                let handle = server.handle();
                millrace_common::runtime::Tasks::new().spawn("bare http", async move {
                    // It ends by its handle.
                    drop(server.await);
                });
                Ok(Self::Bare { port, handle })
            }
        }
    }

    fn url(&self) -> String {
        let port = match self {
            Self::Product(server) => server.port(),
            Self::Bare { port, .. } => *port,
        };
        format!("http://127.0.0.1:{port}")
    }

    async fn stop(self) {
        match self {
            Self::Product(server) => {
                server.drain(Duration::ZERO, STOP_BUDGET).await;
                server.close().await;
            }
            Self::Bare { handle, .. } => handle.stop(false).await,
        }
    }
}

/// As a service of the product writes it: in the request's trace, with a reply in the one form.
async fn take_note(shared: Data<Shared>, Json(request): Json<TakeNote>) -> Result<Reply, ApiError> {
    let event = note(request.key, request.number);
    let record = OutboxRecord::of("bench", &event, &actor_context("customer-1"), &Clock::system())
        .map_err(ApiError::internal)?;
    let mut connection = shared.pool.acquire().await.map_err(ApiError::internal)?;
    append(&mut connection, &[record]).await.map_err(ApiError::internal)?;
    shared.waker.wake();
    Ok(Reply::accepted(json!({ "number": request.number })))
}

async fn take_bare_note(
    shared: Data<Shared>,
    web::Json(request): web::Json<TakeNote>,
) -> actix_web::Result<HttpResponse> {
    let failed = actix_web::error::ErrorInternalServerError::<anyhow::Error>;
    let record = row(request.key, request.number).map_err(failed)?;
    let mut connection = shared.pool.acquire().await.map_err(|error| failed(error.into()))?;
    append(&mut connection, &[record]).await.map_err(|error| failed(error.into()))?;
    shared.waker.wake();
    Ok(HttpResponse::Accepted().body("{}"))
}
