//! What a caller is told about its quota: `RateLimit-Policy` and `RateLimit` on every answer of a route, and
//! `Retry-After` on a 429, by <https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/>.
//!
//! The three agree: on a 429 `t` and `Retry-After` are the same number, the second in which one request passes
//! again; otherwise `t` is when the whole burst is there again.

use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue};
use millrace_common::http::{ApiError, codes};
use millrace_common::resilience::rate_limit::{Quota, Standing};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The two headers for a caller's standing.
pub(super) fn headers(quota: Quota, standing: Standing) -> [(HeaderName, HeaderValue); 2] {
    let window = Duration::from_secs_f64(f64::from(quota.burst) / quota.per_second);
    let reset = if standing.allowed { standing.reset_after } else { standing.retry_after };
    let policy = format!("\"route\";q={};w={}", quota.burst, seconds(window));
    let limit = format!("\"route\";r={};t={}", standing.remaining, seconds(reset));
    [(RATE_LIMIT_POLICY, value(&policy)), (RATE_LIMIT, value(&limit))]
}

/// 429 with all three headers.
pub(super) fn refusal(quota: Quota, standing: Standing) -> ApiError {
    let error = ApiError::new(&codes::RATE_LIMITED, "the quota of this route is used up")
        .with_retry_after(standing.retry_after);
    with_headers(error, quota, standing)
}

/// An error that came after the request was counted.
pub(super) fn with_headers(error: ApiError, quota: Quota, standing: Standing) -> ApiError {
    headers(quota, standing)
        .into_iter()
        .fold(error, |error, (name, value)| error.with_header(name, value))
}

/// Whole seconds, rounded up: who waits that long is not too early.
fn seconds(span: Duration) -> u128 {
    span.as_millis().div_ceil(1000).max(1)
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits and plain letters are a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(standing: Standing) -> [String; 2] {
        let quota = Quota { per_second: 5.0, burst: 12 };
        headers(quota, standing).map(|(_, value)| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_policy_is_the_burst_and_the_time_in_which_it_comes_back() {
        let standing = Standing {
            allowed: true,
            remaining: 11,
            retry_after: Duration::ZERO,
            reset_after: Duration::from_millis(200),
        };
        assert_eq!(told(standing), ["\"route\";q=12;w=3", "\"route\";r=11;t=1"]);
    }

    #[test]
    fn a_refusal_names_the_same_second_three_times() {
        let standing = Standing {
            allowed: false,
            remaining: 0,
            retry_after: Duration::from_millis(1500),
            reset_after: Duration::from_secs(9),
        };
        assert_eq!(told(standing)[1], "\"route\";r=0;t=2");
    }
}
