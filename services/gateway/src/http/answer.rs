//! An upstream's answer on its way to the client: status and headers as they are, the body piece by piece.
//!
//! The body is never held: a page of logs and a stream of minutes take the same memory here. An upstream that dies
//! in the middle can't be told in a status that has already gone out; the connection is cut, which every client
//! notices because the length or the last chunk is missing.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use futures::StreamExt;
use millrace_common::telemetry;
use reqwest::Response;
use tracing::Span;

use crate::metrics;
use crate::routes::UpstreamName;

/// The answer with the gateway's own headers.
pub(super) fn stream(
    upstream: Response,
    name: UpstreamName,
    own: [(HeaderName, HeaderValue); 2],
) -> HttpResponse {
    let status =
        StatusCode::from_u16(upstream.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut builder = HttpResponse::build(status);
    for header in super::headers::for_client(upstream.headers()) {
        builder.append_header(header);
    }
    for header in own {
        builder.insert_header(header);
    }
    match upstream.content_length() {
        Some(0) => return builder.finish(),
        Some(length) => {
            builder.no_chunking(length);
        }
        None => {}
    }
    let span = Span::current();
    let body = upstream.bytes_stream().map(move |piece| {
        piece.inspect_err(|cause| {
            metrics::BROKEN_ANSWERS.with_label_values(&[name.as_str()]).inc();
            let upstream = name.as_str();
            let error = telemetry::error_chain(cause);
            span.in_scope(|| {
                tracing::warn!(upstream, error, "{upstream} broke off in the middle of its answer");
            });
        })
    });
    builder.streaming(body)
}
