//! A customer cancels an order that isn't settled yet.

use millrace_common::envelope::MessageContext;
use millrace_common::outbox::EncodeError;

use super::decisions::{Decisions, Step};
use super::{App, Failure};
use crate::domain::{CancelRefusal, Customer, Order, OrderId, OrderStatus, Transition};

const ACTION: &str = "order.cancel";

/// Which order, and who asks.
#[derive(Debug)]
pub(crate) struct CancelOrder {
    pub(crate) order: OrderId,
    pub(crate) customer: Customer,
    pub(crate) context: MessageContext,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// The order is off from now on.
    Changed(OrderStatus),
    /// The customer had cancelled it before.
    Unchanged(OrderStatus),
}

/// Why the order was not cancelled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CancelOrderError {
    /// No such order of this customer; somebody else's is not told apart.
    #[error("order `{0}` is not this customer's")]
    NotFound(OrderId),
    #[error(transparent)]
    Refused(#[from] CancelRefusal),
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<EncodeError> for CancelOrderError {
    fn from(error: EncodeError) -> Self {
        Self::Failed(error.into())
    }
}

pub(crate) async fn cancel_order(
    app: &App,
    command: &CancelOrder,
) -> Result<Cancelled, CancelOrderError> {
    let mut transaction = app.begin().await?;
    let mut decisions =
        Decisions::lock(app, &mut transaction, &[command.order.0]).await.map_err(Failure::from)?;
    let own = |order: &&Order| order.customer == command.customer;
    let Some(order) = decisions.order(command.order).filter(own) else {
        transaction.rollback().await.map_err(Failure::from)?;
        return Err(CancelOrderError::NotFound(command.order));
    };
    let step = Step { context: &command.context, action: ACTION };
    match order.cancel() {
        Ok(Transition::Unchanged) => {
            let status = order.status;
            transaction.rollback().await.map_err(Failure::from)?;
            Ok(Cancelled::Unchanged(status))
        }
        Ok(Transition::Changed { order, events }) => {
            let status = order.status;
            decisions.take(step, Transition::Changed { order, events }, Vec::new())?;
            decisions.commit(transaction).await?;
            Ok(Cancelled::Changed(status))
        }
        Err(refusal) => {
            // The refusal is a step too: who tried is part of what must be provable.
            decisions.refuse(
                step,
                command.order,
                &[("status", refusal.status.as_str().to_owned())],
            )?;
            decisions.commit(transaction).await?;
            Err(refusal.into())
        }
    }
}
