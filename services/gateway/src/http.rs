//! The edge: the route table as actix resources, and what each request meets on its way to an upstream.
//!
//! In order: CORS, route, token and role, quota, body, deadline, circuit, upstream. What fails is answered here in the
//! reply form; what the upstream answers, success or error, passes through as it is.
//!
//! Everything shared (limits, circuits, connections) is built once in [`crate::startup`] and arrives here behind
//! [`Door`]s: what is made inside actix's factory would exist once per worker.

mod address;
mod answer;
mod body;
mod cors;
mod door;
mod error;
mod headers;
mod proxy;
mod quota;

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use millrace_common::http::{ApiError, codes};
use millrace_contracts::codes::GATEWAY_UNKNOWN_ROUTE;

use crate::routes::Method;

pub(crate) use door::Door;

/// What the edge is made of; cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub(crate) doors: Arc<[Arc<Door>]>,
    pub(crate) cors_origins: Arc<[String]>,
    pub(crate) cors_max_age: Duration,
}

/// Registers every route; what is not among them answers 404, a wrong method 405.
pub(crate) fn routes(config: &mut ServiceConfig, edge: &Edge) {
    let mut scope = web::scope("/api");
    // The table is sorted, so the doors of one path stand together.
    for doors in edge.doors.chunk_by(|a, b| a.route.path == b.route.path) {
        scope = scope.service(resource(doors));
    }
    let scope = scope.default_service(web::to(unknown_route));
    config.service(scope.wrap(cors::policy(&edge.cors_origins, edge.cors_max_age)));
}

fn resource(doors: &[Arc<Door>]) -> actix_web::Resource {
    let path = doors[0].route.path.as_str();
    let mut resource = web::resource(path.strip_prefix("/api").unwrap_or(path));
    let mut allowed = Vec::new();
    for door in doors {
        for method in &door.route.methods {
            allowed.push(method.as_str());
            let (door, method) = (Arc::clone(door), *method);
            let handler = move |request, payload, deadline| {
                proxy::pass_on(Arc::clone(&door), method, request, payload, deadline)
            };
            resource = resource.route(web::method(actix_method(method)).to(handler));
        }
    }
    let allowed =
        HeaderValue::from_str(&allowed.join(", ")).unwrap_or(HeaderValue::from_static(""));
    resource.default_service(web::to(move |request: HttpRequest| {
        let allowed = allowed.clone();
        async move { method_not_allowed(&request, allowed) }
    }))
}

async fn unknown_route() -> Result<HttpResponse, ApiError> {
    Err(ApiError::new(&GATEWAY_UNKNOWN_ROUTE, "there is no such route"))
}

fn method_not_allowed(
    request: &HttpRequest,
    allowed: HeaderValue,
) -> Result<HttpResponse, ApiError> {
    let message = format!("{} is not possible on this path", request.method());
    Err(ApiError::new(&codes::METHOD_NOT_ALLOWED, message).with_header(ALLOW, allowed))
}

fn actix_method(method: Method) -> actix_web::http::Method {
    match method {
        Method::Get => actix_web::http::Method::GET,
        Method::Post => actix_web::http::Method::POST,
        Method::Put => actix_web::http::Method::PUT,
        Method::Patch => actix_web::http::Method::PATCH,
        Method::Delete => actix_web::http::Method::DELETE,
    }
}
