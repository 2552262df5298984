//! A customer places an order: priced from the copy, written in one statement, answered at once.
//!
//! The reply is made before the statement runs and stored by it, so a repeat of the key gets the same bytes. What
//! was refused is not stored and leaves nothing behind: the same key may be used again once the basket is good.

use millrace_common::envelope::{Event, MessageContext};
use millrace_common::outbox::idempotency::{Claim as Known, Fingerprint, IdempotencyKey, find};
use millrace_common::outbox::{EncodeError, OutboxRecord};
use millrace_contracts::events::AuditOutcome;
use uuid::Uuid;

use super::{App, Failure};
use crate::domain::{Basket, Customer, Order, OrderEvent, OrderId, PlaceOrderRefusal, Placed};
use crate::store::intake::{self, Claim, Intake, StoredReply};
use crate::store::products;
use crate::{metrics, wire};

const ACTION: &str = "order.place";

/// What a customer asks for.
#[derive(Debug)]
pub(crate) struct PlaceOrder {
    pub(crate) customer: Customer,
    pub(crate) basket: Basket,
    pub(crate) key: IdempotencyKey,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) context: MessageContext,
}

/// The answer, as it is stored for repeats of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// True when it is the answer to an earlier request with this key.
    pub(crate) replayed: bool,
}

/// Why no order was placed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceOrderError {
    #[error(transparent)]
    Refused(#[from] PlaceOrderRefusal),
    #[error("idempotency key was used for another request")]
    KeyReused,
    #[error("a request with this idempotency key is at work")]
    InFlight,
    #[error(transparent)]
    Failed(#[from] Failure),
}

impl From<EncodeError> for PlaceOrderError {
    fn from(error: EncodeError) -> Self {
        Self::Failed(error.into())
    }
}

/// Places the order; `reply` writes the answer (status and body) for it.
pub(crate) async fn place_order(
    app: &App,
    command: &PlaceOrder,
    reply: impl Fn(&Order) -> (u16, String),
) -> Result<Answer, PlaceOrderError> {
    let caller = scope(&command.customer);
    let skus: Vec<&str> = command.basket.lines().iter().map(|line| line.sku.as_str()).collect();
    let products = products::products_find(app.pool(), &skus).await.map_err(Failure::from)?;
    let id = OrderId(Uuid::now_v7());
    let placed =
        match Order::place(id, command.customer.clone(), &command.basket, &products, app.now()) {
            Ok(placed) => placed,
            // A repeat must get the first answer even when a product has left the shop meanwhile.
            Err(refusal) => return known(app, &caller, command).await?.ok_or(refusal.into()),
        };
    let (status, body) = reply(&placed.order);
    let records = records(app, command, &placed)?;
    let claim = Claim {
        caller: &caller,
        key: &command.key,
        fingerprint: &command.fingerprint,
        ttl: app.rules().reply_ttl,
    };
    let stored = StoredReply { status, body: &body };
    let intake = intake::order_place(app.pool(), &claim, &stored, &placed, &records)
        .await
        .map_err(Failure::from)?;
    match intake {
        Intake::Placed => {
            app.wake_relay();
            metrics::orders_reached(&[placed.order.status]);
            Ok(Answer { status, body, replayed: false })
        }
        Intake::InFlight => Err(PlaceOrderError::InFlight),
        // The row that was in the way may have expired between the two statements: then it is the client's to repeat.
        Intake::KeyTaken => known(app, &caller, command).await?.ok_or(PlaceOrderError::InFlight),
    }
}

/// The answer that an earlier request with this key got.
async fn known(
    app: &App,
    caller: &str,
    command: &PlaceOrder,
) -> Result<Option<Answer>, PlaceOrderError> {
    let mut connection = app.pool().acquire().await.map_err(Failure::from)?;
    let claim = find(&mut connection, caller, &command.key, &command.fingerprint)
        .await
        .map_err(Failure::from)?;
    match claim {
        Known::New => Ok(None),
        Known::Replay { status, body } => {
            metrics::reply_replayed();
            Ok(Some(Answer { status, body, replayed: true }))
        }
        Known::Mismatch => Err(PlaceOrderError::KeyReused),
        Known::InFlight => Err(PlaceOrderError::InFlight),
    }
}

fn records(
    app: &App,
    command: &PlaceOrder,
    placed: &Placed,
) -> Result<[OutboxRecord; 2], EncodeError> {
    let order = &placed.order;
    let event = wire::order_event_out(order, &OrderEvent::Placed { lines: placed.lines.clone() });
    let details = [
        ("to", order.status.as_str().to_owned()),
        ("total", order.total.to_string()),
        ("lines", placed.lines.len().to_string()),
    ];
    let audit = wire::audit_out(&command.context, ACTION, order.id, AuditOutcome::Done, &details);
    Ok([record(app, command, &event)?, record(app, command, &audit)?])
}

fn record<E: Event + Clone>(
    app: &App,
    command: &PlaceOrder,
    event: &E,
) -> Result<OutboxRecord, EncodeError> {
    OutboxRecord::of(wire::SERVICE, event, &command.context, app.clock())
}

/// The namespace of a customer's keys. The prefix keeps it apart from this service's other callers (the payment
/// provider), the separator keeps a tenant's customer apart from one without a tenant.
fn scope(customer: &Customer) -> String {
    match &customer.tenant {
        Some(tenant) => format!("customer:{tenant}\u{1f}{}", customer.id),
        None => format!("customer:{}", customer.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn customers_of_different_tenants_do_not_share_keys() {
        let scope = |tenant: Option<&str>, id: &str| {
            scope(&Customer { id: id.into(), tenant: tenant.map(str::to_owned) })
        };
        assert_ne!(scope(None, "ann"), scope(Some("t"), "ann"));
        assert_ne!(scope(Some("t"), "ann"), scope(Some("u"), "ann"));
        assert_ne!(scope(None, "payment-provider"), "payment-provider");
    }
}
