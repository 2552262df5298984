//! While the service stops, each answer is the last one of its connection.
//!
//! A caller with an open connection never asks the load balancer again: it would keep on sending here until the
//! listener closes, and lose the request that crosses with the close. `Connection: close` sends it elsewhere while
//! everything is still answered.

use actix_web::body::BoxBody;
use actix_web::dev::ServiceRequest;
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;

use super::Outcome;
use crate::chain::Chain;

pub(crate) async fn last_answer(request: ServiceRequest, next: Next<BoxBody>) -> Outcome {
    let chain = Chain::of(request.request());
    let mut response = next.call(request).await?;
    if chain.health.stopping() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}
