//! The endpoints for operators' machines: probes, health, metrics, and what crates above add ([`AdminRoutes`]). They
//! have a port of their own, so that a busy request port doesn't look like a dead service and metrics aren't public.
//!
//! Nobody is asked for a token here: who may reach the port is the network's affair.

use std::sync::Arc;
use std::time::Instant;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::header::ContentType;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{App, Error};
use serde_json::json;

use crate::chain::Chain;
use crate::codes;
use crate::error::ApiError;
use crate::health::{Health, Status};
use crate::middleware::{Facts, Outcome, no_route, panic_guard, plain, reply_form};

/// Endpoints for operators that this crate doesn't know: their handlers may use its extractors and errors.
pub type AdminRoutes = Arc<dyn Fn(&mut ServiceConfig) + Send + Sync>;

/// `/livez` and `/readyz`: on both ports, because some load balancers can only ask where they send requests.
pub(crate) fn probes(config: &mut ServiceConfig, health: &Health) {
    config
        .app_data(Data::new(health.clone()))
        .service(web::resource("/livez").get(livez))
        .service(web::resource("/readyz").get(readyz));
}

/// Everything on the admin port. Of the chain it has the reply form and the guard against panics; nothing here is
/// traced, measured or written to the request log, because its callers come every few seconds for ever.
pub(crate) fn app(
    chain: &Arc<Chain>,
    more: Option<&AdminRoutes>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = Error,
        InitError = (),
    > + use<>,
> {
    App::new()
        .app_data(Arc::clone(chain))
        .configure(|config| probes(config, &chain.health))
        .configure(|config| {
            if let Some(routes) = more {
                routes(config);
            }
        })
        .service(web::resource("/actuator/health").get(report))
        .service(web::resource("/metrics").get(metrics))
        .default_service(web::to(no_route))
        .wrap(from_fn(panic_guard))
        .wrap(from_fn(reply_form))
        .wrap(from_fn(facts))
}

/// What the reply form wants to know; in the chain the trace layer gathers it.
async fn facts(request: ServiceRequest, next: Next<BoxBody>) -> Outcome {
    Facts::gather(&request, Instant::now());
    next.call(request).await
}

async fn livez(health: Data<Health>) -> HttpResponse {
    match health.live() {
        Ok(()) => {
            HttpResponse::Ok().json(json!({ "code": "ok", "message": "alive", "data": null }))
        }
        Err(reason) => {
            tracing::warn!(reason, "liveness failed: a restart is asked for");
            plain(&ApiError::new(&codes::UNAVAILABLE, reason))
        }
    }
}

async fn readyz(health: Data<Health>) -> HttpResponse {
    match health.ready().await {
        Ok(()) => {
            HttpResponse::Ok().json(json!({ "code": "ok", "message": "ready", "data": null }))
        }
        Err(missing) => plain(&ApiError::new(&codes::UNAVAILABLE, format!("not ready: {missing}"))),
    }
}

async fn report(health: Data<Health>) -> HttpResponse {
    let report = health.report().await;
    match report.status {
        Status::Down => HttpResponse::ServiceUnavailable().json(report),
        Status::Up | Status::Unknown => HttpResponse::Ok().json(report),
    }
}

async fn metrics() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(ContentType("text/plain; version=0.0.4".parse().unwrap_or(mime())))
        .body(millrace_telemetry::metrics::render())
}

fn mime() -> actix_web::mime::Mime {
    actix_web::mime::TEXT_PLAIN_UTF_8
}
