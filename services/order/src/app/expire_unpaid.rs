//! Orders that nobody paid in time are cancelled, a batch a transaction.
//!
//! What makes each expiry happen once is the row: it is selected under lock while it still waits for payment, and
//! written on condition of its version. The fence only keeps a dispatcher out that doesn't know it was replaced;
//! so without Redis there is no token, and the result is the same.

use millrace_common::coordination::{FencedError, WritePath};
use millrace_common::envelope::MessageContext;
use millrace_common::outbox::EncodeError;
use millrace_common::telemetry;
use tracing::info_span;

use super::decisions::{Decisions, Step};
use super::{App, Failure};
use crate::domain::{Order, OrderId};
use crate::store::orders;

const ACTION: &str = "order.expire";

/// What became of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Batch {
    /// These many orders expired; a full batch means that there may be more.
    Expired { orders: usize, full: bool },
    /// The sink knows a newer dispatcher, or this one lost its lease; nothing was written.
    Fenced,
}

/// Expires one batch.
pub(crate) async fn expire_unpaid(app: &App, path: &WritePath) -> Result<Batch, Failure> {
    let mut transaction = match path.begin(app.pool()).await {
        Ok(transaction) => transaction,
        Err(FencedError::Refused { .. } | FencedError::Lost { .. }) => return Ok(Batch::Fenced),
        Err(FencedError::Database { source, .. }) => return Err(source.into()),
    };
    let rows_max = app.rules().expiry_batch;
    let due = orders::orders_unpaid_lock(&mut transaction, app.now(), rows_max).await?;
    let expired = due.len();
    if due.is_empty() {
        // The commit keeps the token that the sink has seen.
        transaction.commit().await?;
        return Ok(Batch::Expired { orders: 0, full: false });
    }
    let ids: Vec<OrderId> = due.iter().map(|order| order.id).collect();
    let mut decisions = Decisions::about(app, due);
    for id in ids {
        expire(app, &mut decisions, id)?;
    }
    decisions.commit(transaction.into_transaction()).await?;
    Ok(Batch::Expired { orders: expired, full: u32::try_from(expired) == Ok(rows_max) })
}

fn expire(app: &App, decisions: &mut Decisions<'_>, id: OrderId) -> Result<(), EncodeError> {
    let Some(transition) = decisions.order(id).map(|order: &Order| order.expire(app.now())) else {
        return Ok(());
    };
    let span = info_span!("order.expire", order.id = %id);
    let trace = telemetry::trace_of(&span);
    // No actor: nobody asked, so the audit record names the service itself.
    let context = MessageContext {
        correlation_id: trace.trace_id().map(str::to_owned),
        trace,
        ..MessageContext::default()
    };
    decisions.take(Step { context: &context, action: ACTION }, transition, Vec::new())
}
