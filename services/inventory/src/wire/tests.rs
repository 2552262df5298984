use chrono::DateTime;
use millrace_contracts::events::{
    OrderAwaitingPayment, OrderCancelled, OrderConfirmed, OrderLine, OrderRejected, RefundDue,
    RefundReason,
};

use super::*;

const ORDER: Uuid = Uuid::from_u128(7);

fn placed(lines: &[(&str, u32)]) -> OrderEvent {
    let lines = lines.iter().map(|(sku, quantity)| OrderLine {
        sku: (*sku).to_owned(),
        quantity: *quantity,
        unit_price_minor: 100,
    });
    OrderEvent::Placed(OrderPlaced {
        order_id: ORDER,
        customer_id: "ann".into(),
        currency: "EUR".into(),
        total_minor: 100,
        lines: lines.collect(),
        placed_at: 0,
    })
}

#[test]
fn three_order_events_are_commands_and_three_are_news() {
    let quantity = Quantity::try_new(2).unwrap();
    let lines = Lines::try_new([(Sku::parse("a").unwrap(), quantity)]).unwrap();
    let table = [
        (placed(&[("a", 2)]), Some(Command::Reserve { order_id: ORDER, lines })),
        (
            OrderEvent::Confirmed(OrderConfirmed { order_id: ORDER, payment_id: "p".into() }),
            Some(Command::Confirm { order_id: ORDER }),
        ),
        (
            OrderEvent::Cancelled(OrderCancelled {
                order_id: ORDER,
                reason: events::CancelReason::Expired,
            }),
            Some(Command::Release { order_id: ORDER, reason: CancelReason::Expired }),
        ),
        (OrderEvent::AwaitingPayment(OrderAwaitingPayment { order_id: ORDER, pay_until: 0 }), None),
        (OrderEvent::Rejected(OrderRejected { order_id: ORDER, shortages: Vec::new() }), None),
        (
            OrderEvent::RefundDue(RefundDue {
                order_id: ORDER,
                payment_id: "p".into(),
                amount_minor: 1,
                currency: "EUR".into(),
                reason: RefundReason::OrderCancelled,
            }),
            None,
        ),
    ];
    for (event, command) in table {
        assert_eq!(command_of(&event), Ok(command), "{event:?}");
    }
}

#[test]
fn an_order_that_breaks_its_contract_names_the_field() {
    let many: Vec<String> = (0..51).map(|index| format!("s{index}")).collect();
    let too_many: Vec<(&str, u32)> = many.iter().map(|sku| (sku.as_str(), 1)).collect();
    let table: [(OrderEvent, &str); 5] = [
        (placed(&[]), "lines"),
        (placed(&too_many), "lines"),
        (placed(&[("a", 1), ("a", 1)]), "lines"),
        (placed(&[("a", 1), ("b b", 1)]), "lines[1].sku"),
        (placed(&[("a", 0)]), "lines[0].quantity"),
    ];
    for (event, expected) in table {
        let Err(NotApplicable::BadField { field, .. }) = command_of(&event) else {
            panic!("{event:?} was taken");
        };
        assert_eq!(field, expected);
    }
}

#[test]
fn a_rejection_tells_what_was_short_and_a_first_cancellation_tells_nothing() {
    let decision = Decision::Rejected {
        shortages: vec![Shortage {
            sku: Sku::parse("a").unwrap(),
            requested: Quantity::try_new(3).unwrap(),
            free: 1,
            reason: ShortageReason::OutOfStock,
        }],
    };
    let Some(InventoryEvent::Rejected(rejected)) = event_of(ORDER, &decision) else {
        panic!("no rejection");
    };
    assert_eq!(
        rejected.shortages,
        [events::Shortage {
            sku: "a".into(),
            requested: 3,
            free: 1,
            reason: events::ShortageReason::OutOfStock
        }]
    );
    let held = Decision::Held { held_at: DateTime::from_timestamp_millis(1234).unwrap() };
    assert_eq!(
        event_of(ORDER, &held),
        Some(InventoryEvent::Held(ReservationHeld { order_id: ORDER, held_at: 1234 }))
    );
    assert_eq!(event_of(ORDER, &Decision::CancelledFirst { reason: CancelReason::Customer }), None);
    assert_eq!(event_of(ORDER, &Decision::Unchanged), None);
}

#[test]
fn a_move_is_told_as_differences_that_cancel_out() {
    let before = Stock { free: 5, held: 1, sold: 0, row_version: 3 };
    let after = Stock { free: 3, held: 3, sold: 0, row_version: 4 };
    let StockChangeEvent::Changed(changed) =
        stock_changed_of(&Sku::parse("a").unwrap(), StockMove { before, after });
    assert_eq!((changed.free_change, changed.held_change, changed.sold_change), (-2, 2, 0));
    assert_eq!(changed.row_version, 4);
}
