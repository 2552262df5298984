//! `GET /api/v1/orders/{id}`

use actix_web::web::Data;
use millrace_common::http::auth::ROLE_ADMIN;
use millrace_common::http::{ApiError, Caller, Path, Reply};
use uuid::Uuid;

use super::dto::OrderReply;
use super::error::order_not_found;
use super::{HttpState, customer};
use crate::app::order_status::{Reader, order_status as find};
use crate::domain::OrderId;

/// Tells how an order stands.
///
/// From the moment it was accepted. An admin may read every order, everybody else their own.
#[utoipa::path(
    get, path = "/api/v1/orders/{id}", tag = "orders", operation_id = "orderStatus",
    security(("bearer" = [])),
    params(("id" = Uuid, Path, description = "The order.")),
    responses(
        (status = 200, description = "The order.", body = inline(millrace_common::http::ReplyForm<OrderReply>)),
        (status = 400, description = "`http.invalid_request`"),
        (status = 401, description = "`auth.missing_token`, `auth.invalid_token`, `auth.expired_token`"),
        (status = 404, description = "`order.not_found`, also for somebody else's order"),
        (status = 503, description = "`store.unavailable`, with `Retry-After`"),
    ),
)]
pub(crate) async fn order_status(
    state: Data<HttpState>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Reply, ApiError> {
    let reader = if caller.has_role(ROLE_ADMIN) {
        Reader::Admin
    } else {
        Reader::Customer(customer(&caller))
    };
    let order = OrderId(id);
    let view = find(&state.app, order, &reader).await?.ok_or_else(|| order_not_found(order))?;
    Ok(Reply::ok(OrderReply::from(view)))
}
