//! Orders that wait too long are cancelled, a batch a transaction: those that nobody paid in time, and those that
//! inventory never answered.
//!
//! What makes each expiry happen once is the row: it is selected under lock while it still waits, and written on
//! condition of its version. The batches belong to a run of a scheduled task: each transaction proves first that the
//! occurrence is still this run's, so a worker that was replaced writes nothing.

use millrace_common::envelope::MessageContext;
use millrace_common::outbox::EncodeError;
use millrace_common::scheduler::{RunTransaction, TaskRun};
use millrace_common::telemetry;
use tracing::info_span;

use super::decisions::{Decided, Decisions, Step};
use super::{App, Failure};
use crate::domain::{Order, OrderId, Transition};
use crate::store::orders;

const ACTION: &str = "order.expire";

/// What an order has waited too long for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// Its payment.
    Unpaid,
    /// Inventory's answer.
    Placed,
}

impl Overdue {
    async fn lock(
        self,
        app: &App,
        transaction: &mut RunTransaction,
        rows_max: u32,
    ) -> Result<Vec<Order>, sqlx::Error> {
        match self {
            Self::Unpaid => orders::orders_unpaid_lock(transaction, app.now(), rows_max).await,
            Self::Placed => {
                let placed_by = app.now() - app.rules().placed_limit;
                orders::orders_placed_lock(transaction, placed_by, rows_max).await
            }
        }
    }

    fn decide(self, app: &App, order: &Order) -> Transition {
        match self {
            Self::Unpaid => order.expire_unpaid(app.now()),
            Self::Placed => order.expire_placed(app.now(), app.rules().placed_limit),
        }
    }
}

/// Expires batch after batch until none is left, and ends the occurrence with the last one; returns how many orders
/// that were.
pub(crate) async fn expire_orders(
    app: &App,
    overdue: Overdue,
    run: &TaskRun,
) -> Result<usize, Failure> {
    let rows_max = app.rules().expiry_batch;
    let mut total = 0;
    loop {
        let mut transaction = run.begin().await?;
        let due = overdue.lock(app, &mut transaction, rows_max).await?;
        let batch = due.len();
        let full = u32::try_from(batch) == Ok(rows_max);
        let decided = expire_all(app, overdue, due, &mut transaction).await?;
        if full {
            transaction.commit().await?;
        } else {
            run.finish(transaction).await?;
        }
        decided.committed(app);
        total += batch;
        if !full {
            return Ok(total);
        }
    }
}

async fn expire_all(
    app: &App,
    overdue: Overdue,
    due: Vec<Order>,
    transaction: &mut RunTransaction,
) -> Result<Decided, Failure> {
    let ids: Vec<OrderId> = due.iter().map(|order| order.id).collect();
    let mut decisions = Decisions::about(app, due);
    for id in ids {
        expire(app, overdue, &mut decisions, id)?;
    }
    decisions.write(transaction).await
}

fn expire(
    app: &App,
    overdue: Overdue,
    decisions: &mut Decisions<'_>,
    id: OrderId,
) -> Result<(), EncodeError> {
    let Some(transition) = decisions.order(id).map(|order| overdue.decide(app, order)) else {
        return Ok(());
    };
    let span = info_span!("order.expire", order.id = %id);
    // Without an actor the audit record names the service itself.
    let context = MessageContext::of_own_work(telemetry::trace_of(&span));
    decisions.take(Step { context: &context, action: ACTION }, transition, Vec::new())
}
