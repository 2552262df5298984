//! A request's way through the gateway.

use std::sync::Arc;
use std::time::Instant;

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use millrace_common::http::{ApiError, RequestDeadline};
use millrace_common::resilience::Deadline;
use millrace_contracts::codes::GATEWAY_SLOW_REQUEST;

use super::address::ClientAddress;
use super::door::Door;
use super::{answer, body, error, headers, quota};
use crate::routes::Method;
use crate::upstream::Call;

/// Checks the request, passes it on, and passes the answer back.
pub(super) async fn pass_on(
    door: Arc<Door>,
    method: Method,
    request: HttpRequest,
    payload: web::Payload,
    asked: RequestDeadline,
) -> Result<HttpResponse, ApiError> {
    let address = ClientAddress::of(&request, door.proxies_trusted);
    let caller = door.authenticate(&request)?;
    let standing = door.admit(caller.as_ref(), address.client)?;
    let told = |error| quota::with_headers(error, door.route.quota, standing);

    let now = Instant::now();
    let deadline = Deadline::after(now, door.route.deadline).min(asked.0);
    let body = read_body(&door, payload, deadline).await.map_err(told)?;
    let call = Call {
        method,
        template: door.route.path.as_str().to_owned(),
        target: target_of(&request),
        headers: headers::for_upstream(request.headers(), &address),
        body,
        deadline,
        cut_by_client: is_cut(asked.0, now, &door),
    };
    let name = door.upstream.name();
    match door.upstream.call(&call).await {
        Ok(upstream) => {
            Ok(answer::stream(upstream, name, quota::headers(door.route.quota, standing)))
        }
        Err(failure) => {
            door.refused(error::reason(&failure));
            Err(told(error::reply(failure, name)))
        }
    }
}

async fn read_body(
    door: &Door,
    payload: web::Payload,
    deadline: Deadline,
) -> Result<Bytes, ApiError> {
    let left = deadline.left(Instant::now());
    let read = body::read(payload, door.route.body_bytes_max);
    match tokio::time::timeout(left, read).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => {
            door.refused("body");
            Err(error)
        }
        Err(_) => {
            door.refused("slow body");
            Err(ApiError::new(&GATEWAY_SLOW_REQUEST, "the body did not arrive within the deadline"))
        }
    }
}

/// A client that leaves a tenth less than the route would give decides the outcome itself; a little less is the
/// time that the request took to get here.
fn is_cut(asked: Deadline, now: Instant, door: &Door) -> bool {
    asked.left(now) < door.route.deadline.mul_f64(0.9)
}

fn target_of(request: &HttpRequest) -> String {
    let uri = request.uri();
    match uri.query() {
        Some(query) => format!("{}?{query}", uri.path()),
        None => uri.path().to_owned(),
    }
}
