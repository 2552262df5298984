//! `POST /api/v1/payments/results`: the payment provider's callback.

use actix_web::HttpRequest;
use actix_web::web::Data;
use millrace_common::http::{ApiError, RawBody, Reply, actor_context, json_from_slice};
use millrace_common::outbox::idempotency::{Fingerprint, IdempotencyKey};

use super::HttpState;
use super::dto::{PaymentReply, PaymentResultRequest};
use super::place_order::answered;
use crate::app::receive_payment::{PROVIDER, ReceivePayment, receive_payment};

/// Takes down the result of a payment.
///
/// No token: the callback is signed. `X-Payment-Signature` is `v1=` and the HMAC-SHA256 in hexadecimal of the
/// timestamp's text, a dot and the body's bytes under the shared secret; several are separated by commas.
/// `X-Payment-Timestamp` is in seconds since 1970-01-01 UTC and at most five minutes from now. The same callback
/// again gets the first answer and has no second effect; the same `payment_id` with another body is refused.
#[utoipa::path(
    post, path = "/api/v1/payments/results", tag = "payments", operation_id = "paymentResult",
    params(
        ("X-Payment-Timestamp" = i64, Header, description = "When it was signed, seconds since 1970-01-01 UTC."),
        ("X-Payment-Signature" = String, Header, description = "`v1=<hex>`, several separated by commas."),
    ),
    request_body = PaymentResultRequest,
    responses(
        (status = 202, description = "Taken down, now or by an earlier callback.", body = inline(millrace_common::http::ReplyForm<PaymentReply>)),
        (status = 400, description = "`http.malformed_json`, `http.invalid_request`"),
        (status = 401, description = "`payment.bad_signature`, `payment.outside_window`"),
        (status = 404, description = "`payment.unknown_order`"),
        (status = 409, description = "`idempotency.in_flight`, with `Retry-After`"),
        (status = 413, description = "`http.body_too_large`"),
        (status = 422, description = "`idempotency.key_reused`"),
        (status = 503, description = "`store.unavailable`, with `Retry-After`"),
    ),
)]
pub(crate) async fn payment_result(
    state: Data<HttpState>,
    request: HttpRequest,
    RawBody(body): RawBody,
) -> Result<Reply, ApiError> {
    let now = state.app.clock().now_ms() / 1000;
    state.callbacks.check(request.headers(), &body, now)?;
    let callback: PaymentResultRequest = json_from_slice(&body)?;
    let (order, payment) = callback.payment()?;
    let key = IdempotencyKey::parse(payment.id.as_str())
        .map_err(|problem| ApiError::invalid("payment_id", problem.to_string()))?;
    let reply = Reply::accepted(PaymentReply::of(order, &payment));
    let command = ReceivePayment {
        order,
        payment,
        key,
        fingerprint: Fingerprint::of("POST", "/api/v1/payments/results", &body),
        context: actor_context(PROVIDER),
    };
    let answer =
        receive_payment(&state.app, &command, (reply.status(), reply.body().to_owned())).await?;
    Ok(answered(answer))
}
