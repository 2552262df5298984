//! `POST /api/v1/orders/{id}/cancel`

use actix_web::web::Data;
use millrace_common::http::{ApiError, Caller, Path, Reply, message_context};
use uuid::Uuid;

use super::dto::CancelledReply;
use super::{HttpState, customer};
use crate::app::cancel_order::{CancelOrder, Cancelled, cancel_order as cancel};
use crate::domain::OrderId;

/// Cancels an own order that isn't settled yet.
///
/// Repeating it is harmless and answers the same.
#[utoipa::path(
    post, path = "/api/v1/orders/{id}/cancel", tag = "orders", operation_id = "cancelOrder",
    security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The order.")),
    responses(
        (status = 200, description = "Cancelled, now or before.", body = inline(millrace_common::http::ReplyForm<CancelledReply>)),
        (status = 400, description = "`http.invalid_request`"),
        (status = 401, description = "`auth.missing_token`, `auth.invalid_token`, `auth.expired_token`"),
        (status = 404, description = "`order.not_found`, also for somebody else's order"),
        (status = 409, description = "`order.not_cancellable`; `data.status` says why"),
        (status = 503, description = "`store.unavailable`, with `Retry-After`"),
    ),
)]
pub(crate) async fn cancel_order(
    state: Data<HttpState>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Reply, ApiError> {
    let order = OrderId(id);
    let command =
        CancelOrder { order, customer: customer(&caller), context: message_context(&caller) };
    let status = match cancel(&state.app, &command).await? {
        Cancelled::Changed(status) | Cancelled::Unchanged(status) => status,
    };
    Ok(Reply::ok(CancelledReply::of(order, status)))
}
