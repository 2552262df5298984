//! `POST /api/v1/orders`

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::Data;
use millrace_common::http::{ApiError, Caller, Json, Reply, message_context};
use millrace_common::outbox::idempotency::Fingerprint;

use super::dto::{PlaceOrderRequest, PlacedReply};
use super::idempotency_key::Key;
use super::{HttpState, customer};
use crate::app::place_order::{Answer, PlaceOrder, place_order as place};

/// Says that the answer is an earlier one's.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Places an order.
///
/// Answers at once; the order's own address tells what becomes of it. The same `Idempotency-Key` gets the same
/// answer for 24 hours, with `Idempotency-Replayed: true`; keys of different callers never meet.
#[utoipa::path(
    post, path = "/api/v1/orders", tag = "orders", operation_id = "placeOrder",
    security(("bearer" = [])),
    params(("Idempotency-Key" = String, Header, description = "A key of your own; the same one when you repeat the request.")),
    request_body = PlaceOrderRequest,
    responses(
        (status = 202, description = "Accepted, now or by an earlier request with this key.", body = inline(millrace_common::http::ReplyForm<PlacedReply>)),
        (status = 400, description = "`http.malformed_json`, `http.invalid_request`, `idempotency.key_missing`, `idempotency.key_malformed`"),
        (status = 401, description = "`auth.missing_token`, `auth.invalid_token`, `auth.expired_token`"),
        (status = 409, description = "`idempotency.in_flight`, with `Retry-After`"),
        (status = 413, description = "`http.body_too_large`"),
        (status = 415, description = "`http.unsupported_media_type`"),
        (status = 422, description = "`idempotency.key_reused`, `order.unknown_sku`, `order.mixed_currencies`, `order.total_too_large`"),
        (status = 503, description = "`store.unavailable`, with `Retry-After`"),
    ),
)]
pub(crate) async fn place_order(
    state: Data<HttpState>,
    caller: Caller,
    Key(key): Key,
    Json(request): Json<PlaceOrderRequest>,
) -> Result<Reply, ApiError> {
    let command = PlaceOrder {
        customer: customer(&caller),
        basket: request.basket()?,
        key,
        fingerprint: Fingerprint::of("POST", "/api/v1/orders", &request.canonical()),
        context: message_context(&caller),
    };
    let answer = place(&state.app, &command, |order| {
        let reply = Reply::accepted(PlacedReply::of(order.id, order.status));
        (reply.status(), reply.body().to_owned())
    })
    .await?;
    Ok(answered(answer))
}

pub(super) fn answered(answer: Answer) -> Reply {
    let reply = Reply::raw(answer.status, answer.body);
    if answer.replayed {
        reply.with_header(REPLAYED, HeaderValue::from_static("true"))
    } else {
        reply
    }
}
