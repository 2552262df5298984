//! `GET /api/v1/orders`

use actix_web::web::Data;
use chrono::DateTime;
use millrace_common::http::cursor::BadCursor;
use millrace_common::http::{ApiError, Caller, Query, Reply};
use uuid::Uuid;

use super::dto::{ListQuery, OrderPage};
use super::error::bad_cursor;
use super::{HttpState, customer};
use crate::app::order_status::own_orders;
use crate::domain::Customer;
use crate::store::status_view::Position;

/// Lists the caller's own orders, newest first.
///
/// An order that is placed while you turn the pages appears on none of the later ones.
#[utoipa::path(
    get, path = "/api/v1/orders", tag = "orders", operation_id = "listOrders",
    security(("bearer" = [])),
    params(ListQuery),
    responses(
        (status = 200, description = "One page.", body = inline(millrace_common::http::ReplyForm<OrderPage>)),
        (status = 400, description = "`http.invalid_request`, `search.bad_cursor`"),
        (status = 401, description = "`auth.missing_token`, `auth.invalid_token`, `auth.expired_token`"),
        (status = 503, description = "`store.unavailable`, with `Retry-After`"),
    ),
)]
pub(crate) async fn list_orders(
    state: Data<HttpState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Reply, ApiError> {
    let owner = customer(&caller);
    let after = query.cursor.as_deref().map(|text| position(&state, text, &owner)).transpose()?;
    let (orders, next) = own_orders(&state.app, &owner, after, query.limit.get()).await?;
    let next_cursor = next
        .map(|next| {
            let position = (next.placed_at.timestamp_micros(), next.order_id);
            state.cursors.encode(&position, &filters(&owner))
        })
        .transpose()
        .map_err(ApiError::internal)?;
    Ok(Reply::ok(OrderPage { orders: orders.into_iter().map(Into::into).collect(), next_cursor }))
}

fn position(state: &HttpState, text: &str, owner: &Customer) -> Result<Position, ApiError> {
    let (micros, order_id): (i64, Uuid) =
        state.cursors.decode(text, &filters(owner)).map_err(bad_cursor)?;
    let placed_at = DateTime::from_timestamp_micros(micros).ok_or_else(|| bad_cursor(BadCursor))?;
    Ok(Position { placed_at, order_id })
}

/// A cursor belongs to this list of this caller.
fn filters(owner: &Customer) -> (&'static str, Option<&str>, &str) {
    ("orders", owner.tenant.as_deref(), &owner.id)
}
