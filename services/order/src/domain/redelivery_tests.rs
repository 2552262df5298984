//! However often and however interleaved the events of two topics are delivered, an order ends in the same state
//! and says the same things, each once.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    Currency, Customer, Money, Order, OrderEvent, OrderId, OrderStatus, Payment, PaymentId,
    PaymentResult, ReservationOutcome, Transition,
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Event {
    Reservation,
    Payment,
}

fn start() -> Order {
    let euro = Currency::parse("EUR").unwrap();
    Order {
        id: OrderId(Uuid::nil()),
        customer: Customer { id: "ann".into(), tenant: None },
        status: OrderStatus::Placed,
        total: Money { minor: 100, currency: euro },
        placed_at: DateTime::UNIX_EPOCH,
        pay_until: None,
        payment_id: None,
        payments: vec![],
        version: 1,
    }
}

/// Delivers the events; returns the final status and every event published, in order.
fn deliver(events: &[Event], held: bool, paid: bool) -> (OrderStatus, Vec<OrderEvent>) {
    let now: DateTime<Utc> = DateTime::UNIX_EPOCH;
    let outcome = if held {
        ReservationOutcome::Held
    } else {
        ReservationOutcome::Rejected { shortages: vec![] }
    };
    let result = if paid {
        PaymentResult::Succeeded(start().total)
    } else {
        PaymentResult::Failed { reason: "declined".into() }
    };
    let payment = Payment { id: PaymentId::parse("p").unwrap(), result };
    let mut order = start();
    let mut published = Vec::new();
    for event in events {
        let transition = match event {
            Event::Reservation => {
                order.settle_reservation(&outcome, now, TimeDelta::seconds(60)).unwrap()
            }
            Event::Payment => order.settle_payment(&payment).unwrap(),
        };
        if let Transition::Changed { order: next, events } = transition {
            assert_eq!(next.version, order.version + 1);
            order = *next;
            published.extend(events);
        }
    }
    (order.status, published)
}

proptest! {
    #[test]
    fn any_redelivery_order_gives_the_same_end_state(
        deliveries in prop::collection::vec(prop_oneof![Just(Event::Reservation), Just(Event::Payment)], 2..12),
        held in any::<bool>(),
        paid in any::<bool>(),
    ) {
        prop_assume!(deliveries.contains(&Event::Reservation) && deliveries.contains(&Event::Payment));
        let once = deliver(&[Event::Reservation, Event::Payment], held, paid);
        prop_assert_eq!(deliver(&deliveries, held, paid), once);
    }
}
