//! `order-events`, read as group `inventory.reserve`.
//!
//! What it makes of an outcome is decided here and nowhere deeper: done, try again, or dead letter.

use millrace_common::envelope::Envelope;
use millrace_common::messaging::{Batch, Handler, HandlerError, Outcomes};
use millrace_common::outbox::StoreError;
use millrace_common::resilience::{Class, Classify};
use millrace_contracts::codes;
use millrace_contracts::events::OrderEvent;
use tracing::Instrument as _;

use crate::app::apply_orders::{ApplyOrdersError, OrderMessage, apply_orders};
use crate::app::{App, Failure};
use crate::domain::{Decision, NotApplicable};
use crate::wire;

/// Holds, sells and releases stock by what orders do.
pub(crate) struct OrderEvents {
    app: App,
}

impl OrderEvents {
    pub(crate) fn new(app: App) -> Self {
        Self { app }
    }

    async fn apply(&self, batch: &Batch<Envelope<OrderEvent>>) -> Result<(), ApplyOrdersError> {
        let mut messages = Vec::with_capacity(batch.deliveries.len());
        let mut spans = Vec::with_capacity(batch.deliveries.len());
        for delivery in &batch.deliveries {
            if let Some(command) = wire::command_of(&delivery.message.payload)? {
                let (id, context) = (delivery.message.id, delivery.context.clone());
                messages.push(OrderMessage { id, command, context });
                spans.push(&delivery.span);
            }
        }
        if messages.is_empty() {
            return Ok(());
        }
        // A transaction for one order belongs to that order's trace. One for several belongs to none of them: it
        // stays in the batch's span, which links to all.
        let span = match spans.as_slice() {
            [only] => (*only).clone(),
            _ => tracing::Span::current(),
        };
        let decisions = apply_orders(&self.app, &messages).instrument(span).await?;
        for ((message, decision), span) in messages.iter().zip(&decisions).zip(spans) {
            span.in_scope(|| tell(message, decision));
        }
        Ok(())
    }
}

impl Handler for OrderEvents {
    type Message = Envelope<OrderEvent>;

    async fn handle(&self, batch: Batch<Self::Message>) -> Outcomes {
        self.apply(&batch).await.map_err(handler_error).into()
    }
}

fn tell(message: &OrderMessage, decision: &Decision) {
    let order_id = message.command.order_id();
    match decision {
        Decision::Held { .. } => {
            tracing::info!(order.id = %order_id, "stock is held for order {order_id}")
        }
        Decision::Rejected { shortages } => {
            let short = shortages.len();
            tracing::info!(order.id = %order_id, lines.short = short, "order {order_id} is rejected: {short} line(s) short");
        }
        Decision::Refused => {
            tracing::info!(order.id = %order_id, "reservation refused: order {order_id} was cancelled before");
        }
        Decision::Confirmed => {
            tracing::info!(order.id = %order_id, "stock of order {order_id} is sold")
        }
        Decision::Released { .. } => {
            tracing::info!(order.id = %order_id, "stock of order {order_id} is free again")
        }
        Decision::CancelledFirst { .. } => {
            tracing::info!(order.id = %order_id, "order {order_id} was cancelled before its reservation");
        }
        Decision::Unchanged => {
            tracing::debug!(order.id = %order_id, "event of order {order_id} had its effect before")
        }
    }
}

fn handler_error(error: ApplyOrdersError) -> HandlerError {
    match error {
        ApplyOrdersError::NotApplicable(refusal) => not_applicable(refusal),
        ApplyOrdersError::Failure(Failure::Store(failure)) => store_failed(failure),
        ApplyOrdersError::Failure(failure @ Failure::Encode(_)) => {
            HandlerError::permanent(&codes::EVENT_NOT_APPLICABLE, failure)
        }
    }
}

fn not_applicable(refusal: NotApplicable) -> HandlerError {
    HandlerError::permanent(&codes::EVENT_NOT_APPLICABLE, refusal)
}

fn store_failed(failure: StoreError) -> HandlerError {
    match failure.class() {
        Class::Transient => HandlerError::transient(&codes::STORE_UNAVAILABLE, failure),
        Class::Permanent => HandlerError::permanent(&codes::STORE_FAILED, failure),
    }
}
