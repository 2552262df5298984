//! A batch of order events takes its effect, in one transaction.
//!
//! The sequence is: claim the messages in the inbox, lock the reservations, lock the stock, walk the events through
//! the [`Book`] in memory, write. A hot SKU is locked and written once per batch, not once per order, and the
//! number of statements doesn't grow with the batch.
//!
//! One event that can't be applied fails the whole batch, and nothing is written: the consumer's runtime then hands the
//! events over one by one, so that only the bad one goes to the dead-letter topic.
//! This module never retries: the runtime does, in place, while the world is broken.

use std::collections::{BTreeMap, BTreeSet};

use millrace_common::envelope::MessageContext;
use millrace_common::outbox::{EncodeError, StoreError, append, inbox_claim};
use millrace_contracts::events::{AuditOutcome, AuditRecorded};
use millrace_contracts::groups;
use sqlx::PgConnection;
use uuid::Uuid;

use super::journal::{Journal, audited};
use super::{App, Failure};
use crate::domain::{Book, Command, Decision, NotApplicable, Reservation, Sku, Stock};
use crate::store::reservations::{reservations_lock, reservations_write};
use crate::store::stock::{stock_lock, stock_move};
use crate::wire;

/// One order event that asks something of the stock.
#[derive(Debug, Clone)]
pub(crate) struct OrderMessage {
    /// The envelope's id, by which a repeat is known.
    pub(crate) id: Uuid,
    pub(crate) command: Command,
    /// On whose behalf and in which trace its effects are told.
    pub(crate) context: MessageContext,
}

/// Why a batch had no effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyOrdersError {
    #[error(transparent)]
    Failure(#[from] Failure),
    #[error(transparent)]
    NotApplicable(#[from] NotApplicable),
}

impl From<StoreError> for ApplyOrdersError {
    fn from(error: StoreError) -> Self {
        Self::Failure(error.into())
    }
}

impl From<sqlx::Error> for ApplyOrdersError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failure(error.into())
    }
}

impl From<EncodeError> for ApplyOrdersError {
    fn from(error: EncodeError) -> Self {
        Self::Failure(error.into())
    }
}

/// Applies the messages in order; a message handled before has no second effect. Returns one decision a message, in
/// their order.
pub(crate) async fn apply_orders(
    app: &App,
    messages: &[OrderMessage],
) -> Result<Vec<Decision>, ApplyOrdersError> {
    let mut transaction = app.pool.begin().await?;
    let decisions = apply_in(app, &mut transaction, messages).await?;
    transaction.commit().await?;
    app.relay.wake();
    app.metrics.batch(&decisions);
    Ok(decisions)
}

async fn apply_in(
    app: &App,
    conn: &mut PgConnection,
    messages: &[OrderMessage],
) -> Result<Vec<Decision>, ApplyOrdersError> {
    let ids: Vec<Uuid> = messages.iter().map(|message| message.id).collect();
    let mut new = inbox_claim(conn, groups::INVENTORY_RESERVE, &ids).await?;
    if new.is_empty() {
        return Ok(vec![Decision::Unchanged; messages.len()]);
    }
    let now = now_ms_exact(app);
    let mut book = open_book(conn, messages).await?;
    let mut journal = Journal::new(&app.clock);
    let mut decisions = Vec::with_capacity(messages.len());
    let mut last_mover: BTreeMap<Sku, &MessageContext> = BTreeMap::new();
    for message in messages {
        // Taken out, so that one id twice in a batch counts once.
        let decision = if new.remove(&message.id) {
            book.apply(&message.command, now)?
        } else {
            Decision::Unchanged
        };
        let order_id = message.command.order_id();
        if let Some(event) = wire::event_of(order_id, &decision) {
            journal.event(&event, &message.context)?;
        }
        if let Some(record) = audit_of(&message.context, order_id, &decision) {
            journal.audit(record, &message.context)?;
        }
        if let Decision::Held { .. } | Decision::Confirmed | Decision::Released { .. } = decision {
            for (sku, _) in book.lines(order_id) {
                last_mover.insert(sku.clone(), &message.context);
            }
        }
        decisions.push(decision);
    }
    let rows: Vec<(&Sku, Stock)> = book.moves().map(|(sku, moved)| (sku, moved.after)).collect();
    for (sku, moved) in book.moves() {
        // One move has many causes here; it is told in the trace of the last.
        if let Some(context) = last_mover.get(sku) {
            journal.stock_move(sku, moved, context)?;
        }
    }
    stock_move(conn, &rows).await?;
    let written: Vec<&Reservation> = book.written().collect();
    reservations_write(conn, &written, now).await?;
    append(conn, journal.records()).await?;
    Ok(decisions)
}

/// Locks everything that the batch may touch: what the orders hold already and what they ask for.
async fn open_book(conn: &mut PgConnection, messages: &[OrderMessage]) -> Result<Book, StoreError> {
    let order_ids: BTreeSet<Uuid> =
        messages.iter().map(|message| message.command.order_id()).collect();
    let order_ids: Vec<Uuid> = order_ids.into_iter().collect();
    let reservations = reservations_lock(conn, &order_ids).await?;
    let mut skus: BTreeSet<&Sku> =
        reservations.iter().flat_map(|reservation| reservation.lines.skus()).collect();
    for message in messages {
        if let Command::Reserve { lines, .. } = &message.command {
            skus.extend(lines.skus());
        }
    }
    let stock = stock_lock(conn, skus).await?;
    Ok(Book::open(stock, reservations))
}

/// Now, cut to the milliseconds that an event carries, so that the row and the event agree.
fn now_ms_exact(app: &App) -> chrono::DateTime<chrono::Utc> {
    let now = app.clock.now();
    chrono::DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap_or(now)
}

fn audit_of(
    context: &MessageContext,
    order_id: Uuid,
    decision: &Decision,
) -> Option<AuditRecorded> {
    let resource: (&str, &dyn std::fmt::Display) = ("reservation", &order_id);
    let of = |action, outcome| audited(context, action, resource, outcome);
    match decision {
        Decision::Held { .. } => Some(of("reservation.hold", AuditOutcome::Done)),
        Decision::Rejected { shortages } => {
            let record = of("reservation.reject", AuditOutcome::Refused)
                .with("short_lines", shortages.len());
            Some(match shortages.first() {
                Some(first) => record.with("sku", &first.sku).with("reason", first.reason.as_str()),
                None => record,
            })
        }
        Decision::Refused => Some(of("reservation.refuse", AuditOutcome::Refused)),
        Decision::Confirmed => Some(of("reservation.confirm", AuditOutcome::Done)),
        Decision::Released { reason } => {
            Some(of("reservation.release", AuditOutcome::Done).with("reason", reason.as_str()))
        }
        Decision::CancelledFirst { reason } => {
            Some(of("reservation.cancel_first", AuditOutcome::Done).with("reason", reason.as_str()))
        }
        Decision::Unchanged => None,
    }
}
