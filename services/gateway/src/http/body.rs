//! A request's body, read whole and bounded before the upstream is asked.
//!
//! Whole, because only then a body without a length is known to fit, and because a client that sends slowly would
//! otherwise be charged to the upstream's circuit. Bodies here are small; the table bounds each.

use actix_web::web;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use millrace_common::http::{ApiError, codes};

/// This much of a body that is too large is read and thrown away, so that a client that writes before it reads
/// sees the answer instead of a reset connection.
const DISCARDED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The body, at most `bytes_max`.
pub(super) async fn read(mut payload: web::Payload, bytes_max: usize) -> Result<Bytes, ApiError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|cause| {
            ApiError::new(&codes::INVALID_REQUEST, "the body could not be read").with_source(cause)
        })?;
        if body.len() + chunk.len() > bytes_max {
            discard(payload).await;
            let message = match bytes_max {
                0 => "this request takes no body".to_owned(),
                _ => format!("the body is larger than {bytes_max} bytes"),
            };
            return Err(ApiError::new(&codes::BODY_TOO_LARGE, message)
                .with_data(serde_json::json!({ "body_bytes_max": bytes_max })));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

async fn discard(mut payload: web::Payload) {
    let mut left = DISCARDED_BYTES_MAX;
    while let Some(Ok(chunk)) = payload.next().await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
