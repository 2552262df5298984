//! The endpoints for operators' machines: probes, health, metrics. They have a port of their own, so that a busy
//! request port doesn't look like a dead service and metrics aren't public.

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use actix_web::web::{self, Data, ServiceConfig};
use serde_json::json;

use crate::codes;
use crate::error::ApiError;
use crate::health::{Health, Status};
use crate::middleware::{no_route, plain};

/// `/livez` and `/readyz`: on both ports, because some load balancers can only ask where they send requests.
pub(crate) fn probes(config: &mut ServiceConfig, health: &Health) {
    config
        .app_data(Data::new(health.clone()))
        .service(web::resource("/livez").get(livez))
        .service(web::resource("/readyz").get(readyz));
}

/// Everything on the admin port.
pub(crate) fn configure(config: &mut ServiceConfig, health: &Health) {
    probes(config, health);
    config
        .service(web::resource("/actuator/health").get(report))
        .service(web::resource("/metrics").get(metrics))
        .default_service(web::to(|request| async {
            no_route(request).await.unwrap_or_else(|it| plain(&it))
        }));
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
