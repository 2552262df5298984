//! What the client reads when an upstream gave no answer.

use std::time::Duration;

use millrace_common::http::ApiError;
use millrace_contracts::codes::{
    GATEWAY_CIRCUIT_OPEN, GATEWAY_UNKNOWN_ROUTE, GATEWAY_UPSTREAM_TIMEOUT,
    GATEWAY_UPSTREAM_UNAVAILABLE,
};
use serde_json::json;

use crate::routes::UpstreamName;
use crate::upstream::CallFailure;

/// A service that was restarted or moved is back within about this long.
const RETRY_UNREACHABLE_AFTER: Duration = Duration::from_secs(1);

/// The label that counts it.
pub(super) const fn reason(failure: &CallFailure) -> &'static str {
    match failure {
        CallFailure::CrookedPath => "crooked path",
        CallFailure::NoTimeLeft => "no time left",
        CallFailure::CircuitOpen { .. } => "circuit open",
        CallFailure::TimedOut { .. } => "timeout",
        CallFailure::Unreachable { .. } => "unreachable",
    }
}

/// The reply; a 504 names the hop at which time ran out.
pub(super) fn reply(failure: CallFailure, upstream: UpstreamName) -> ApiError {
    let name = upstream.as_str();
    match failure {
        CallFailure::CrookedPath => ApiError::new(
            &GATEWAY_UNKNOWN_ROUTE,
            "the path is not in its plain form: it has dot segments or unescaped characters",
        ),
        CallFailure::NoTimeLeft => {
            let message = format!("the deadline passed before {name} could be asked");
            ApiError::new(&GATEWAY_UPSTREAM_TIMEOUT, message).with_data(json!({ "hop": "gateway" }))
        }
        CallFailure::TimedOut { .. } => {
            let message = format!("{name} did not answer within the deadline");
            ApiError::new(&GATEWAY_UPSTREAM_TIMEOUT, message)
                .with_data(json!({ "hop": name }))
                .with_source(failure)
        }
        CallFailure::CircuitOpen { retry_after } => {
            let message = format!("{name} keeps failing and is given a rest");
            ApiError::new(&GATEWAY_CIRCUIT_OPEN, message)
                .with_data(json!({ "upstream": name }))
                .with_retry_after(retry_after)
        }
        CallFailure::Unreachable { .. } => {
            ApiError::new(&GATEWAY_UPSTREAM_UNAVAILABLE, format!("{name} can't be reached"))
                .with_data(json!({ "upstream": name }))
                .with_retry_after(RETRY_UNREACHABLE_AFTER)
                .with_source(failure)
        }
    }
}
