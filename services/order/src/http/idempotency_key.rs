//! The header `Idempotency-Key` as an extractor.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use millrace_common::http::ApiError;
use millrace_common::outbox::idempotency::IdempotencyKey;
use millrace_contracts::codes;

const HEADER: &str = "Idempotency-Key";

/// The client's key; a request without one is refused.
#[derive(Debug)]
pub(super) struct Key(pub(super) IdempotencyKey);

impl FromRequest for Key {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(read(request).map(Self))
    }
}

fn read(request: &HttpRequest) -> Result<IdempotencyKey, ApiError> {
    let mut values = request.headers().get_all(HEADER);
    let value = values.next().ok_or_else(|| {
        ApiError::new(
            &codes::IDEMPOTENCY_KEY_MISSING,
            "the request needs an Idempotency-Key header",
        )
        .field(HEADER, "is missing")
    })?;
    if values.next().is_some() {
        return Err(malformed("must be given once"));
    }
    let text = value.to_str().map_err(|_| malformed("must consist of visible ASCII characters"))?;
    IdempotencyKey::parse(text).map_err(|cause| malformed(&cause.to_string()))
}

fn malformed(problem: &str) -> ApiError {
    ApiError::new(&codes::IDEMPOTENCY_KEY_MALFORMED, "the Idempotency-Key header is not a key")
        .field(HEADER, problem)
}
