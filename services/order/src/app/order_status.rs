//! Questions about orders, answered from the read view.

use super::{App, Failure};
use crate::domain::{Customer, OrderId};
use crate::store::status_view::{self, OrderSummary, OrderView, Position};

/// Who may see an order.
#[derive(Debug, Clone)]
pub(crate) enum Reader {
    /// Their own orders only.
    Customer(Customer),
    /// Every order.
    Admin,
}

/// The order, if the reader may see it. Somebody else's order is as unknown as one that doesn't exist.
pub(crate) async fn order_status(
    app: &App,
    id: OrderId,
    reader: &Reader,
) -> Result<Option<OrderView>, Failure> {
    let owner = match reader {
        Reader::Customer(customer) => Some(customer),
        Reader::Admin => None,
    };
    Ok(status_view::order_view_find(app.pool(), id, owner).await?)
}

/// One page of a customer's own orders, newest first, and where the next one begins.
pub(crate) async fn own_orders(
    app: &App,
    owner: &Customer,
    after: Option<Position>,
    limit: u16,
) -> Result<(Vec<OrderSummary>, Option<Position>), Failure> {
    // One more than asked for tells whether there is a next page.
    let rows_max = u32::from(limit) + 1;
    let mut page = match after {
        Some(after) => status_view::order_view_next(app.pool(), owner, after, rows_max).await?,
        None => status_view::order_view_first(app.pool(), owner, rows_max).await?,
    };
    let more = page.len() > usize::from(limit);
    page.truncate(usize::from(limit));
    let next = page
        .last()
        .filter(|_| more)
        .map(|last| Position { placed_at: last.placed_at, order_id: last.order_id });
    Ok((page, next))
}
