//! What a request may take: bytes of headers, and time.

use actix_web::HttpMessage;
use actix_web::body::BoxBody;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::HeaderMap;
use actix_web::middleware::Next;
use millrace_resilience::Deadline;
use millrace_resilience::deadline::DEADLINE_HEADER;

use super::{Facts, Outcome};
use crate::chain::Chain;
use crate::codes;
use crate::error::ApiError;
use crate::extract::RequestDeadline;

pub(crate) async fn limits(request: ServiceRequest, next: Next<BoxBody>) -> Outcome {
    let chain = Chain::of(request.request());
    if header_bytes(request.headers()) > chain.header_bytes_max {
        let message = format!("the headers are larger than {} bytes", chain.header_bytes_max);
        return Err(ApiError::new(&codes::HEADERS_TOO_LARGE, message).into());
    }
    let asked = request.headers().get(DEADLINE_HEADER).and_then(|value| value.to_str().ok());
    let started = Facts::of(&request).started;
    let deadline = Deadline::from_header(started, asked, chain.deadline);
    request.extensions_mut().insert(RequestDeadline(deadline));
    // An answer that nobody waits for any more isn't begun.
    if deadline.passed(chain.clock.monotonic()) {
        return Err(passed(chain.service).into());
    }
    let left = deadline.left(chain.clock.monotonic());
    match tokio::time::timeout(left, next.call(request)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(passed(chain.service).into()),
    }
}

fn passed(hop: &'static str) -> ApiError {
    ApiError::new(&codes::TIMEOUT, format!("the deadline passed in {hop}"))
        .with_data(serde_json::json!({ "hop": hop }))
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}
