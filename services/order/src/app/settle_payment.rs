//! The payment provider's result reaches its order: it settles it, is kept, goes back, or is refused.

use millrace_contracts::groups::ORDER_PAYMENTS;

use super::decisions::{Decisions, Detail, Step};
use super::settle::settle;
use super::{App, News, SettleError};
use crate::domain::{Payment, PaymentRecord, Transition};

const ACTION: &str = "payment.apply";

pub(crate) async fn settle_payments(app: &App, news: &[News<Payment>]) -> Result<(), SettleError> {
    settle(app, ORDER_PAYMENTS, news, decide).await
}

fn decide(decisions: &mut Decisions<'_>, item: &News<Payment>) -> Result<(), SettleError> {
    let payment = &item.content;
    let order = decisions.order(item.order).ok_or(SettleError::UnknownOrder(item.order))?;
    let step = Step { context: &item.context, action: ACTION };
    let mut details: Vec<Detail> = vec![
        ("payment_id", payment.id.as_str().to_owned()),
        ("result", payment.result.as_str().to_owned()),
    ];
    match order.settle_payment(payment) {
        Ok(transition) => {
            details.extend(state_of(&transition, payment));
            decisions.take(step, transition, details)?;
        }
        Err(refusal) => {
            tracing::info!(
                order.id = %item.order, payment.id = %payment.id, refusal = %refusal,
                "payment was refused for order {}", item.order
            );
            details.push(("paid", refusal.paid.to_string()));
            details.push(("due", refusal.due.to_string()));
            decisions.refuse(step, item.order, &details)?;
            decisions.payments_refused += 1;
        }
    }
    Ok(())
}

/// What the order made of the payment.
fn state_of(transition: &Transition, payment: &Payment) -> Option<Detail> {
    let Transition::Changed { order, .. } = transition else {
        return None;
    };
    let record: Option<&PaymentRecord> =
        order.payments.iter().find(|record| record.same_as(payment));
    record.map(|record| ("payment", record.state.as_str().to_owned()))
}
