//! Settling orders by what other services told: one transaction for a batch of records.
//!
//! The inbox decides which records are new, the orders' rows are locked in the order of their ids, the decisions
//! are made in the order of the records, and everything is written at once. A record that can't be applied fails
//! the whole batch and nothing of it is kept; the consumer runtime then hands the records over one by one, so
//! that only the bad one is dead-lettered.

use std::collections::BTreeSet;

use millrace_common::envelope::{ConsumerGroup, MessageContext};
use millrace_common::outbox::{EncodeError, inbox_claim};
use tracing::Span;
use uuid::Uuid;

use super::decisions::Decisions;
use super::{App, Failure};
use crate::domain::{NotApplicable, OrderId};

/// One record about one order.
#[derive(Debug)]
pub(crate) struct News<T> {
    /// The envelope's id, by which a repeat is recognised.
    pub(crate) id: Uuid,
    pub(crate) order: OrderId,
    pub(crate) content: T,
    /// The record's own context, which its outbox and audit rows carry on.
    pub(crate) context: MessageContext,
    pub(crate) span: Span,
}

/// Why a batch was not settled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettleError {
    #[error("order `{0}` is not known here")]
    UnknownOrder(OrderId),
    #[error("event can't be applied to order `{order}`")]
    NotApplicable {
        order: OrderId,
        #[source]
        source: NotApplicable,
    },
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<EncodeError> for SettleError {
    fn from(error: EncodeError) -> Self {
        Self::Failed(error.into())
    }
}

/// Handles the news that `group` has not handled yet; `decide` is called for each, in order.
pub(crate) async fn settle<T, D>(
    app: &App,
    group: ConsumerGroup,
    news: &[News<T>],
    decide: D,
) -> Result<(), SettleError>
where
    T: Sync,
    D: Fn(&mut Decisions<'_>, &News<T>) -> Result<(), SettleError> + Send,
{
    if news.is_empty() {
        return Ok(());
    }
    let mut transaction = app.begin().await?;
    let ids: Vec<Uuid> = news.iter().map(|item| item.id).collect();
    let mut fresh = inbox_claim(&mut transaction, group, &ids).await.map_err(Failure::from)?;
    let orders: BTreeSet<Uuid> =
        news.iter().filter(|item| fresh.contains(&item.id)).map(|item| item.order.0).collect();
    if orders.is_empty() {
        return Ok(transaction.rollback().await.map_err(Failure::from)?);
    }
    let orders: Vec<Uuid> = orders.into_iter().collect();
    let mut decisions =
        Decisions::lock(app, &mut transaction, &orders).await.map_err(Failure::from)?;
    for item in news {
        // Taken out, because one batch may carry a record twice.
        if fresh.remove(&item.id)
            && let Err(error) = item.span.in_scope(|| decide(&mut decisions, item))
        {
            // Before the records come again one by one: they would wait for this transaction's locks.
            transaction.rollback().await.map_err(Failure::from)?;
            return Err(error);
        }
    }
    Ok(decisions.commit(transaction).await?)
}
