//! Which pages may call the API from a browser.
//!
//! An allow-list and never `*`: an empty list means that no page may. A preflight request is answered before any
//! token is looked for, as browsers send none with it.

use std::time::Duration;

use actix_cors::Cors;

use crate::routes::Method;

/// What a page may send beside the headers that every page may.
const REQUEST_HEADERS: &[&str] = &[
    "accept",
    "authorization",
    "content-type",
    "if-match",
    "idempotency-key",
    "traceparent",
    "tracestate",
    "baggage",
    "x-millrace-deadline-ms",
];

/// What a page may read of an answer.
const ANSWER_HEADERS: &[&str] =
    &["location", "retry-after", "etag", "ratelimit", "ratelimit-policy", "idempotency-replayed"];

/// The middleware. A request from elsewhere is answered without permission to read the answer, and not refused:
/// `Origin` is no proof of anything, the token is.
pub(super) fn policy(origins: &[String], max_age: Duration) -> Cors {
    let methods: Vec<&str> = Method::ALL.iter().map(|method| method.as_str()).collect();
    let cors = Cors::default()
        .allowed_methods(methods)
        .allowed_headers(REQUEST_HEADERS.iter().copied())
        .expose_headers(ANSWER_HEADERS.iter().copied())
        .max_age(usize::try_from(max_age.as_secs()).unwrap_or(usize::MAX))
        .block_on_origin_mismatch(false);
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}
