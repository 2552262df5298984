//! Every event's bytes on the wire, held against a file. `UPDATE_GOLDEN=1` writes the files anew; do that only
//! for an event that was never released.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use millrace_contracts::events::*;
use millrace_envelope::{Envelope, Event};
use uuid::Uuid;

const ORDER: Uuid = Uuid::from_u128(0x0192_7c1e_0000_7000_8000_0000_0000_0001);

fn check<E: Event + PartialEq + std::fmt::Debug>(events: Vec<E>) {
    let mut seen = Vec::new();
    for event in events {
        seen.push((event.event_type(), event.version()));
        let name = format!("{}.v{}.json", event.event_type(), event.version());
        let envelope = Envelope::new(ORDER, "golden", 1_700_000_000_123, event);
        let text = envelope.to_text().unwrap() + "\n";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(&name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, golden, "{name} differs from what was released");
        assert_eq!(Envelope::<E>::decode(golden.as_bytes()).unwrap(), envelope);
    }
    assert_eq!(seen, E::TYPES, "every type of the topic has a golden file");
}

#[test]
fn order_events_keep_their_form() {
    let line = OrderLine { sku: "TEA-1".into(), quantity: 2, unit_price_minor: 1250 };
    check(vec![
        OrderEvent::Placed(OrderPlaced {
            order_id: ORDER,
            customer_id: "ann".into(),
            currency: "EUR".into(),
            total_minor: 2500,
            lines: vec![line],
            placed_at: 1_700_000_000_000,
        }),
        OrderEvent::AwaitingPayment(OrderAwaitingPayment {
            order_id: ORDER,
            pay_until: 1_700_000_900_000,
        }),
        OrderEvent::Rejected(OrderRejected { order_id: ORDER, shortages: vec![shortage()] }),
        OrderEvent::Confirmed(OrderConfirmed { order_id: ORDER, payment_id: "pay-1".into() }),
        OrderEvent::Cancelled(OrderCancelled {
            order_id: ORDER,
            reason: CancelReason::PaymentFailed,
        }),
        OrderEvent::RefundDue(RefundDue {
            order_id: ORDER,
            payment_id: "pay-1".into(),
            amount_minor: 2500,
            currency: "EUR".into(),
            reason: RefundReason::OrderCancelled,
        }),
    ]);
}

fn shortage() -> Shortage {
    Shortage { sku: "TEA-1".into(), requested: 2, free: 1, reason: ShortageReason::OutOfStock }
}

#[test]
fn inventory_events_keep_their_form() {
    check(vec![
        InventoryEvent::Held(ReservationHeld { order_id: ORDER, held_at: 1_700_000_000_050 }),
        InventoryEvent::Rejected(ReservationRejected {
            order_id: ORDER,
            shortages: vec![shortage()],
        }),
        InventoryEvent::Refused(ReservationRefused { order_id: ORDER }),
        InventoryEvent::Confirmed(ReservationConfirmed { order_id: ORDER }),
        InventoryEvent::Released(ReservationReleased { order_id: ORDER }),
        InventoryEvent::Overdue(ReservationOverdue { order_id: ORDER, held_at: 1_700_000_000_050 }),
    ]);
}

#[test]
fn payment_events_keep_their_form() {
    check(vec![
        PaymentEvent::Succeeded(PaymentSucceeded {
            order_id: ORDER,
            payment_id: "pay-1".into(),
            amount_minor: 2500,
            currency: "EUR".into(),
        }),
        PaymentEvent::Failed(PaymentFailed {
            order_id: ORDER,
            payment_id: "pay-1".into(),
            reason: "card declined".into(),
        }),
    ]);
}

#[test]
fn product_and_stock_events_keep_their_form() {
    check(vec![ProductEvent::Changed(ProductChanged {
        sku: "TEA-1".into(),
        name: "Green tea".into(),
        price_minor: 1250,
        currency: "EUR".into(),
        sellable: true,
        row_version: 3,
    })]);
    check(vec![StockChangeEvent::Changed(StockChanged {
        sku: "TEA-1".into(),
        free_change: -2,
        held_change: 2,
        sold_change: 0,
        row_version: 7,
    })]);
    check(vec![StockLevelEvent::Level(StockLevel {
        sku: "TEA-1".into(),
        free: 8,
        held: 2,
        sold: 0,
        row_version: 7,
    })]);
}

#[test]
fn audit_events_keep_their_form() {
    check(vec![AuditEvent::Recorded(AuditRecorded {
        actor: "ann".into(),
        action: "order.place".into(),
        resource: format!("order/{ORDER}"),
        outcome: AuditOutcome::Done,
        trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
        detail: [("total_minor".to_owned(), "2500".to_owned())].into(),
    })]);
}
