//! The decisions of one transaction: orders read under lock, what they became, and what must be said about it.
//!
//! Decisions are collected in memory and written together, so that a batch of records costs the statements of
//! one. Events and audit records keep the sequence in which they were decided.

use std::collections::BTreeMap;

use millrace_common::envelope::MessageContext;
use millrace_common::outbox::{EncodeError, OutboxRecord, append};
use millrace_contracts::events::AuditOutcome;
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use super::{App, Failure};
use crate::domain::{CancelReason, Order, OrderEvent, OrderId, OrderStatus, Transition};
use crate::store::{orders, payments};
use crate::{metrics, wire};

/// Key and value for an audit record.
pub(crate) type Detail = (&'static str, String);

pub(crate) struct Decisions<'a> {
    app: &'a App,
    orders: BTreeMap<OrderId, Held>,
    records: Vec<OutboxRecord>,
    reached: Vec<OrderStatus>,
    refunds: u64,
    /// Counted by whoever refuses one; told to the metrics once it is committed.
    pub(crate) payments_refused: u64,
}

/// An order whose row is locked.
struct Held {
    order: Order,
    /// The version in the database.
    stored_version: i64,
}

/// What must be made known of decisions once they are committed.
#[must_use]
pub(crate) struct Decided {
    told: bool,
    reached: Vec<OrderStatus>,
    refunds: u64,
    payments_refused: u64,
}

impl Decided {
    /// Wakes the relay and counts.
    pub(crate) fn committed(self, app: &App) {
        if self.told {
            app.wake_relay();
        }
        metrics::orders_reached(&self.reached);
        metrics::refunds_due(self.refunds);
        metrics::payments_refused(self.payments_refused);
    }
}

/// Where and on whose behalf something was decided, and the name it is audited under.
#[derive(Clone, Copy)]
pub(crate) struct Step<'a> {
    pub(crate) context: &'a MessageContext,
    pub(crate) action: &'static str,
}

impl<'a> Decisions<'a> {
    /// About orders whose rows the caller's transaction has locked.
    pub(crate) fn about(app: &'a App, locked: Vec<Order>) -> Self {
        let held = |order: Order| (order.id, Held { stored_version: order.version, order });
        let orders = locked.into_iter().map(held).collect();
        Self {
            app,
            orders,
            records: Vec::new(),
            reached: Vec::new(),
            refunds: 0,
            payments_refused: 0,
        }
    }

    /// Locks the orders first.
    pub(crate) async fn lock(
        app: &'a App,
        conn: &mut PgConnection,
        ids: &[Uuid],
    ) -> Result<Self, sqlx::Error> {
        Ok(Self::about(app, orders::orders_lock(conn, ids).await?))
    }

    /// The order as the decisions so far left it.
    pub(crate) fn order(&self, id: OrderId) -> Option<&Order> {
        self.orders.get(&id).map(|held| &held.order)
    }

    /// Takes over what was decided: the order, its events, and the audit record of the step.
    /// `Unchanged` leaves no trace: a repeat is not a step.
    pub(crate) fn take(
        &mut self,
        step: Step<'_>,
        transition: Transition,
        details: Vec<Detail>,
    ) -> Result<(), EncodeError> {
        let Transition::Changed { order, events } = transition else {
            return Ok(());
        };
        let context = of_order(step.context, &order);
        let from = self.order(order.id).map_or(order.status, |before| before.status);
        for event in &events {
            let event = wire::order_event_out(&order, event);
            self.records.push(self.record(&event, &context)?);
        }
        let mut all =
            vec![("from", from.as_str().to_owned()), ("to", order.status.as_str().to_owned())];
        all.extend(
            order.status.reason().map(|reason| ("reason", CancelReason::as_str(reason).to_owned())),
        );
        all.extend(events.iter().filter_map(refund_detail));
        all.extend(details);
        self.audit(&context, step.action, order.id, AuditOutcome::Done, &all)?;
        if from != order.status {
            self.reached.push(order.status);
        }
        self.refunds +=
            events.iter().filter(|event| matches!(event, OrderEvent::RefundDue { .. })).count()
                as u64;
        if let Some(held) = self.orders.get_mut(&order.id) {
            held.order = *order;
        }
        Ok(())
    }

    /// Records that the business said no; no order changes.
    pub(crate) fn refuse(
        &mut self,
        step: Step<'_>,
        order: OrderId,
        details: &[Detail],
    ) -> Result<(), EncodeError> {
        let context = match self.order(order) {
            Some(order) => of_order(step.context, order),
            None => step.context.clone(),
        };
        self.audit(&context, step.action, order, AuditOutcome::Refused, details)
    }

    /// Writes everything and commits. The relay is woken afterwards.
    pub(crate) async fn commit(
        self,
        mut transaction: Transaction<'_, Postgres>,
    ) -> Result<(), Failure> {
        let app = self.app;
        let decided = self.write(&mut transaction).await?;
        transaction.commit().await?;
        decided.committed(app);
        Ok(())
    }

    /// Writes everything into the caller's transaction, who says when that is committed.
    pub(crate) async fn write(self, transaction: &mut PgConnection) -> Result<Decided, Failure> {
        let changed: Vec<(&Order, i64)> = self
            .orders
            .values()
            .filter(|held| held.order.version != held.stored_version)
            .map(|held| (&held.order, held.stored_version))
            .collect();
        if !changed.is_empty() {
            let written = orders::orders_update(transaction, &changed, self.app.now()).await?;
            if written != changed.len() as u64 {
                return Err(Failure::LostUpdate { changed: changed.len(), written });
            }
            let orders: Vec<&Order> = changed.iter().map(|(order, _)| *order).collect();
            payments::payments_write(transaction, &orders).await?;
        }
        append(transaction, &self.records).await?;
        Ok(Decided {
            told: !self.records.is_empty(),
            reached: self.reached,
            refunds: self.refunds,
            payments_refused: self.payments_refused,
        })
    }

    fn audit(
        &mut self,
        context: &MessageContext,
        action: &str,
        order: OrderId,
        outcome: AuditOutcome,
        details: &[Detail],
    ) -> Result<(), EncodeError> {
        let event = wire::audit_out(context, action, order, outcome, details);
        let record = self.record(&event, context)?;
        self.records.push(record);
        Ok(())
    }

    fn record<E>(&self, event: &E, context: &MessageContext) -> Result<OutboxRecord, EncodeError>
    where
        E: millrace_common::envelope::Event + Clone,
    {
        OutboxRecord::of(wire::SERVICE, event, context, self.app.clock())
    }
}

/// What an order sets off belongs to its tenant, whoever's message set it off.
fn of_order(context: &MessageContext, order: &Order) -> MessageContext {
    MessageContext { tenant: order.customer.tenant.clone(), ..context.clone() }
}

fn refund_detail(event: &OrderEvent) -> Option<Detail> {
    match event {
        OrderEvent::RefundDue { payment_id, money, .. } => {
            Some(("refund_due", format!("{money} of payment {payment_id}")))
        }
        OrderEvent::Placed { .. }
        | OrderEvent::AwaitingPayment { .. }
        | OrderEvent::Rejected { .. }
        | OrderEvent::Confirmed { .. }
        | OrderEvent::Cancelled { .. } => None,
    }
}
