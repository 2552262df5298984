//! The body as bytes, bounded.

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::LocalBoxFuture;

use crate::chain::Chain;
use crate::codes;
use crate::error::ApiError;

/// After a body was found too large this much more of it is read and thrown away, so that a client that writes
/// before it reads gets the answer instead of a reset connection.
const DISCARD_FACTOR: usize = 64;

/// The body as it came, at most `http.body_max`. For a signature over the bytes; otherwise take `Json`.
#[derive(Debug, Clone)]
pub struct RawBody(pub Bytes);

impl FromRequest for RawBody {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes_max = Chain::of(request).body_bytes_max;
        let is_encoded = request
            .headers()
            .get(header::CONTENT_ENCODING)
            .is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
        let payload = payload.take();
        Box::pin(async move {
            if is_encoded {
                return Err(ApiError::new(
                    &codes::UNSUPPORTED_MEDIA_TYPE,
                    "a compressed body is not accepted",
                ));
            }
            read(payload, bytes_max).await.map(Self)
        })
    }
}

async fn read(mut payload: Payload, bytes_max: usize) -> Result<Bytes, ApiError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(broken)?;
        if body.len() + chunk.len() > bytes_max {
            discard(payload, bytes_max.saturating_mul(DISCARD_FACTOR)).await;
            return Err(ApiError::new(
                &codes::BODY_TOO_LARGE,
                format!("the body is larger than {bytes_max} bytes"),
            )
            .with_data(serde_json::json!({ "body_bytes_max": bytes_max })));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Bounded by bytes here and by the request's deadline around it.
async fn discard(mut payload: Payload, mut bytes_left: usize) {
    while let Some(Ok(chunk)) = payload.next().await {
        match bytes_left.checked_sub(chunk.len()) {
            Some(left) => bytes_left = left,
            None => return,
        }
    }
}

/// The caller stopped sending or sent something that is no body.
fn broken(cause: PayloadError) -> ApiError {
    ApiError::new(&codes::INVALID_REQUEST, "the body could not be read").with_source(cause)
}
