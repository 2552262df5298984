//! Between the domain and the contracts, both ways, and nothing else.
//!
//! Reading is strict where the domain is: a SKU, currency or payment id that is none makes the event permanent bad
//! news (it goes to the dead-letter topic), because no later attempt could read it differently.

use chrono::{DateTime, Utc};
use millrace_common::envelope::MessageContext;
use millrace_common::resilience::{Class, Classify};
use millrace_contracts::events as wire;
use millrace_contracts::events::AuditOutcome;

use crate::domain::{
    CancelReason, Currency, Line, Money, Order, OrderEvent, OrderId, Payment, PaymentId,
    PaymentResult, Product, RefundReason, ReservationOutcome, Shortage, ShortageReason, Sku,
};

/// The name that this service's events and audit records carry.
pub(crate) const SERVICE: &str = "order";

/// A field of an event that has another form than this service can take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}` of the event has the unusable value `{value}`")]
pub(crate) struct Unreadable {
    field: &'static str,
    value: String,
}

impl Classify for Unreadable {
    fn class(&self) -> Class {
        Class::Permanent
    }
}

/// What an inventory event means to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InventoryNews {
    /// The answer that the order waits for.
    Settled(OrderId, ReservationOutcome),
    /// The echo of something that this service decided itself, or a report; no order changes by it.
    Noted(OrderId, &'static str),
}

pub(crate) fn inventory_news(event: &wire::InventoryEvent) -> InventoryNews {
    use wire::InventoryEvent as Event;
    match event {
        Event::Held(held) => {
            InventoryNews::Settled(OrderId(held.order_id), ReservationOutcome::Held)
        }
        Event::Rejected(rejected) => {
            let shortages = rejected.shortages.iter().map(shortage_in).collect();
            InventoryNews::Settled(
                OrderId(rejected.order_id),
                ReservationOutcome::Rejected { shortages },
            )
        }
        Event::Refused(event) => InventoryNews::Noted(OrderId(event.order_id), "refused"),
        Event::Confirmed(event) => InventoryNews::Noted(OrderId(event.order_id), "confirmed"),
        Event::Released(event) => InventoryNews::Noted(OrderId(event.order_id), "released"),
        Event::Overdue(event) => InventoryNews::Noted(OrderId(event.order_id), "overdue"),
    }
}

pub(crate) fn payment_in(event: &wire::PaymentEvent) -> Result<(OrderId, Payment), Unreadable> {
    match event {
        wire::PaymentEvent::Succeeded(event) => {
            let currency = currency_in(&event.currency)?;
            let result = PaymentResult::Succeeded(Money { minor: event.amount_minor, currency });
            Ok((OrderId(event.order_id), Payment { id: payment_id_in(&event.payment_id)?, result }))
        }
        wire::PaymentEvent::Failed(event) => {
            let result = PaymentResult::Failed { reason: event.reason.clone() };
            Ok((OrderId(event.order_id), Payment { id: payment_id_in(&event.payment_id)?, result }))
        }
    }
}

pub(crate) fn payment_out(order: OrderId, payment: &Payment) -> wire::PaymentEvent {
    let payment_id = payment.id.as_str().to_owned();
    match &payment.result {
        PaymentResult::Succeeded(money) => wire::PaymentEvent::Succeeded(wire::PaymentSucceeded {
            order_id: order.0,
            payment_id,
            amount_minor: money.minor,
            currency: money.currency.as_str().to_owned(),
        }),
        PaymentResult::Failed { reason } => wire::PaymentEvent::Failed(wire::PaymentFailed {
            order_id: order.0,
            payment_id,
            reason: reason.clone(),
        }),
    }
}

pub(crate) fn product_in(event: &wire::ProductEvent) -> Result<Product, Unreadable> {
    let wire::ProductEvent::Changed(changed) = event;
    let sku = Sku::parse(&changed.sku)
        .ok_or_else(|| Unreadable { field: "sku", value: changed.sku.clone() })?;
    if changed.price_minor < 0 {
        let value = changed.price_minor.to_string();
        return Err(Unreadable { field: "price_minor", value });
    }
    Ok(Product {
        sku,
        name: changed.name.clone(),
        price_minor: changed.price_minor,
        currency: currency_in(&changed.currency)?,
        sellable: changed.sellable,
        row_version: changed.row_version,
    })
}

/// What `order` says on the wire.
pub(crate) fn order_event_out(order: &Order, event: &OrderEvent) -> wire::OrderEvent {
    let order_id = order.id.0;
    match event {
        OrderEvent::Placed { lines } => wire::OrderEvent::Placed(wire::OrderPlaced {
            order_id,
            customer_id: order.customer.id.clone(),
            currency: order.total.currency.as_str().to_owned(),
            total_minor: order.total.minor,
            lines: lines.iter().map(line_out).collect(),
            placed_at: milliseconds(order.placed_at),
        }),
        OrderEvent::AwaitingPayment { pay_until } => {
            let pay_until = milliseconds(*pay_until);
            wire::OrderEvent::AwaitingPayment(wire::OrderAwaitingPayment { order_id, pay_until })
        }
        OrderEvent::Rejected { shortages } => {
            let shortages = shortages.iter().map(shortage_out).collect();
            wire::OrderEvent::Rejected(wire::OrderRejected { order_id, shortages })
        }
        OrderEvent::Confirmed { payment_id } => {
            let payment_id = payment_id.as_str().to_owned();
            wire::OrderEvent::Confirmed(wire::OrderConfirmed { order_id, payment_id })
        }
        OrderEvent::Cancelled { reason } => {
            let reason = cancel_reason_out(*reason);
            wire::OrderEvent::Cancelled(wire::OrderCancelled { order_id, reason })
        }
        OrderEvent::RefundDue { payment_id, money, reason } => {
            wire::OrderEvent::RefundDue(wire::RefundDue {
                order_id,
                payment_id: payment_id.as_str().to_owned(),
                amount_minor: money.minor,
                currency: money.currency.as_str().to_owned(),
                reason: refund_reason_out(*reason),
            })
        }
    }
}

/// An audit record about an order, said by this service in `context`.
pub(crate) fn audit_out(
    context: &MessageContext,
    action: &str,
    order: OrderId,
    outcome: AuditOutcome,
    details: &[(&'static str, String)],
) -> wire::AuditEvent {
    let record = wire::AuditRecorded::of(context, SERVICE, action, ("order", &order), outcome);
    let record = details.iter().fold(record, |record, (key, value)| record.with(key, value));
    wire::AuditEvent::Recorded(record)
}

pub(crate) fn milliseconds(instant: DateTime<Utc>) -> i64 {
    instant.timestamp_millis()
}

fn currency_in(text: &str) -> Result<Currency, Unreadable> {
    Currency::parse(text).ok_or_else(|| Unreadable { field: "currency", value: text.to_owned() })
}

fn payment_id_in(text: &str) -> Result<PaymentId, Unreadable> {
    PaymentId::parse(text).ok_or_else(|| Unreadable { field: "payment_id", value: text.to_owned() })
}

fn line_out(line: &Line) -> wire::OrderLine {
    wire::OrderLine {
        sku: line.sku.as_str().to_owned(),
        quantity: line.quantity.pieces(),
        unit_price_minor: line.unit_price_minor,
    }
}

fn shortage_in(shortage: &wire::Shortage) -> Shortage {
    let reason = match shortage.reason {
        wire::ShortageReason::OutOfStock => ShortageReason::OutOfStock,
        wire::ShortageReason::UnknownSku => ShortageReason::UnknownSku,
    };
    let (sku, requested, free) = (shortage.sku.clone(), shortage.requested, shortage.free);
    Shortage { sku, requested, free, reason }
}

fn shortage_out(shortage: &Shortage) -> wire::Shortage {
    let reason = match shortage.reason {
        ShortageReason::OutOfStock => wire::ShortageReason::OutOfStock,
        ShortageReason::UnknownSku => wire::ShortageReason::UnknownSku,
    };
    let (sku, requested, free) = (shortage.sku.clone(), shortage.requested, shortage.free);
    wire::Shortage { sku, requested, free, reason }
}

fn cancel_reason_out(reason: CancelReason) -> wire::CancelReason {
    match reason {
        CancelReason::Customer => wire::CancelReason::Customer,
        CancelReason::PaymentFailed => wire::CancelReason::PaymentFailed,
        CancelReason::Expired => wire::CancelReason::Expired,
    }
}

fn refund_reason_out(reason: RefundReason) -> wire::RefundReason {
    match reason {
        RefundReason::OrderCancelled => wire::RefundReason::OrderCancelled,
        RefundReason::OrderRejected => wire::RefundReason::OrderRejected,
        RefundReason::AlreadyPaid => wire::RefundReason::AlreadyPaid,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_payment_survives_the_wire() {
        let money = Money { minor: 5, currency: Currency::parse("EUR").unwrap() };
        for result in
            [PaymentResult::Succeeded(money), PaymentResult::Failed { reason: "declined".into() }]
        {
            let payment = Payment { id: PaymentId::parse("pay-1").unwrap(), result };
            let order = OrderId(Uuid::from_u128(7));
            assert_eq!(payment_in(&payment_out(order, &payment)), Ok((order, payment)));
        }
    }

    #[test]
    fn a_product_that_could_not_be_ordered_is_not_taken_in() {
        let changed = |sku: &str, price_minor: i64, currency: &str| {
            product_in(&wire::ProductEvent::Changed(wire::ProductChanged {
                sku: sku.into(),
                name: "x".into(),
                price_minor,
                currency: currency.into(),
                sellable: true,
                row_version: 1,
            }))
        };
        assert!(changed("TEA", 1, "EUR").is_ok());
        for (sku, price, currency) in [("", 1, "EUR"), ("TEA", -1, "EUR"), ("TEA", 1, "eur")] {
            assert!(changed(sku, price, currency).is_err(), "{sku} {price} {currency}");
        }
    }
}
