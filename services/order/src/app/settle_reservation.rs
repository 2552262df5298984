//! Inventory answered: the order awaits payment or is rejected.

use millrace_contracts::groups::ORDER_RESERVATIONS;

use super::decisions::{Decisions, Step};
use super::settle::settle;
use super::{App, News, SettleError};
use crate::domain::ReservationOutcome;

const ACTION: &str = "order.settle_reservation";

pub(crate) async fn settle_reservations(
    app: &App,
    news: &[News<ReservationOutcome>],
) -> Result<(), SettleError> {
    settle(app, ORDER_RESERVATIONS, news, |decisions, item| decide(app, decisions, item)).await
}

fn decide(
    app: &App,
    decisions: &mut Decisions<'_>,
    item: &News<ReservationOutcome>,
) -> Result<(), SettleError> {
    let order = decisions.order(item.order).ok_or(SettleError::UnknownOrder(item.order))?;
    let transition = order
        .settle_reservation(&item.content, app.now(), app.rules().pay_within)
        .map_err(|source| SettleError::NotApplicable { order: item.order, source })?;
    let step = Step { context: &item.context, action: ACTION };
    let details = vec![("reservation", item.content.as_str().to_owned())];
    Ok(decisions.take(step, transition, details)?)
}
