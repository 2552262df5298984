//! Every decision about an order as tables.

use chrono::DateTime;

use super::*;
use crate::domain::{Currency, Quantity, ShortageReason, Wanted};

const DUE: i64 = 2500;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

fn money(minor: i64, currency: &str) -> Money {
    Money { minor, currency: Currency::parse(currency).unwrap() }
}

fn order(status: OrderStatus) -> Order {
    let payments = match status {
        OrderStatus::Confirmed => {
            vec![PaymentRecord {
                payment: success("first", DUE, "EUR"),
                state: PaymentState::Applied,
            }]
        }
        OrderStatus::Placed
        | OrderStatus::AwaitingPayment
        | OrderStatus::Rejected
        | OrderStatus::Cancelled(_) => vec![],
    };
    Order {
        id: OrderId(Uuid::nil()),
        customer: Customer { id: "ann".into(), tenant: None },
        status,
        total: money(DUE, "EUR"),
        placed_at: at(0),
        pay_until: Some(at(60)),
        payment_id: payments.first().map(|record| record.payment.id.clone()),
        payments,
        version: 3,
    }
}

fn success(id: &str, minor: i64, currency: &str) -> Payment {
    let id = PaymentId::parse(id).unwrap();
    Payment { id, result: PaymentResult::Succeeded(money(minor, currency)) }
}

fn failure(id: &str) -> Payment {
    let id = PaymentId::parse(id).unwrap();
    Payment { id, result: PaymentResult::Failed { reason: "card declined".into() } }
}

fn rejection() -> ReservationOutcome {
    let reason = ShortageReason::OutOfStock;
    let shortage = Shortage { sku: "TEA-1".into(), requested: 2, free: 1, reason };
    ReservationOutcome::Rejected { shortages: vec![shortage] }
}

/// A word for each event, and the status; «=» when nothing changed.
fn told<E: std::fmt::Debug>(outcome: Result<Transition, E>) -> String {
    match outcome {
        Err(_) => "refused".to_owned(),
        Ok(Transition::Unchanged) => "=".to_owned(),
        Ok(Transition::Changed { order, events }) => {
            let mut words = vec![order.status.as_str()];
            words.extend(order.status.reason().map(CancelReason::as_str));
            words.extend(events.iter().map(|event| match event {
                OrderEvent::Placed { .. } => "+placed",
                OrderEvent::AwaitingPayment { .. } => "+awaiting_payment",
                OrderEvent::Rejected { .. } => "+rejected",
                OrderEvent::Confirmed { .. } => "+confirmed",
                OrderEvent::Cancelled { .. } => "+cancelled",
                OrderEvent::RefundDue { .. } => "+refund_due",
            }));
            words.join(" ")
        }
    }
}

fn after<E: std::fmt::Debug>(outcome: Result<Transition, E>) -> Order {
    match outcome {
        Ok(Transition::Changed { order, .. }) => *order,
        other => panic!("no change: {other:?}"),
    }
}

const ALL: [OrderStatus; 7] = [
    OrderStatus::Placed,
    OrderStatus::AwaitingPayment,
    OrderStatus::Confirmed,
    OrderStatus::Rejected,
    OrderStatus::Cancelled(CancelReason::Customer),
    OrderStatus::Cancelled(CancelReason::PaymentFailed),
    OrderStatus::Cancelled(CancelReason::Expired),
];

#[test]
fn a_customer_can_cancel_until_the_order_is_settled() {
    let expected = [
        "cancelled customer +cancelled",
        "cancelled customer +cancelled",
        "refused",
        "refused",
        "=",
        "refused",
        "refused",
    ];
    for (status, expected) in ALL.into_iter().zip(expected) {
        assert_eq!(told(order(status).cancel()), expected, "{status:?}");
    }
}

#[test]
fn a_reservation_settles_a_placed_order_and_repeats_change_nothing() {
    let held = ["awaiting_payment +awaiting_payment", "=", "=", "refused", "=", "=", "="];
    let rejected = ["rejected +rejected", "refused", "refused", "=", "=", "=", "="];
    for ((status, held), rejected) in ALL.into_iter().zip(held).zip(rejected) {
        let settle = |outcome: &ReservationOutcome| {
            told(order(status).settle_reservation(outcome, at(10), TimeDelta::seconds(90)))
        };
        assert_eq!(settle(&ReservationOutcome::Held), held, "held, {status:?}");
        assert_eq!(settle(&rejection()), rejected, "rejected, {status:?}");
    }
    let awaiting = order(OrderStatus::Placed).settle_reservation(
        &ReservationOutcome::Held,
        at(10),
        TimeDelta::seconds(90),
    );
    assert_eq!(after(awaiting).pay_until, Some(at(100)));
}

#[test]
fn a_payment_settles_an_awaiting_order_is_kept_for_a_placed_one_and_goes_back_otherwise() {
    let succeeded = [
        "placed",
        "confirmed +confirmed",
        "confirmed +refund_due",
        "rejected +refund_due",
        "cancelled customer +refund_due",
        "cancelled payment_failed +refund_due",
        "cancelled expired +refund_due",
    ];
    let failed = [
        "placed",
        "cancelled payment_failed +cancelled",
        "confirmed",
        "rejected",
        "cancelled customer",
        "cancelled payment_failed",
        "cancelled expired",
    ];
    for ((status, succeeded), failed) in ALL.into_iter().zip(succeeded).zip(failed) {
        let order = order(status);
        assert_eq!(told(order.settle_payment(&success("p", DUE, "EUR"))), succeeded, "{status:?}");
        assert_eq!(told(order.settle_payment(&failure("p"))), failed, "{status:?}");
    }
}

#[test]
fn a_wrong_amount_or_currency_is_refused_while_the_order_could_take_it() {
    for (minor, currency) in [(DUE - 1, "EUR"), (DUE + 1, "EUR"), (DUE, "USD"), (0, "EUR")] {
        for status in [OrderStatus::Placed, OrderStatus::AwaitingPayment] {
            let refused = order(status).settle_payment(&success("p", minor, currency));
            assert_eq!(told(refused), "refused", "{status:?} {minor} {currency}");
        }
        // Money for an order that is off goes back, however much it is.
        let refund = order(OrderStatus::Rejected).settle_payment(&success("p", minor, currency));
        assert_eq!(told(refund), "rejected +refund_due");
    }
}

#[test]
fn the_same_result_of_the_same_payment_counts_once() {
    for status in ALL {
        let once = after(order(status).settle_payment(&success("p", DUE, "EUR")));
        assert_eq!(told(once.settle_payment(&success("p", DUE, "EUR"))), "=", "{status:?}");
        let once = after(order(status).settle_payment(&failure("p")));
        assert_eq!(told(once.settle_payment(&failure("p"))), "=", "{status:?}");
    }
    let confirmed = order(OrderStatus::Confirmed);
    assert_eq!(told(confirmed.settle_payment(&success("first", DUE, "EUR"))), "=");
}

#[test]
fn a_kept_payment_is_applied_when_the_reservations_outcome_is_known() {
    let within = TimeDelta::seconds(90);
    let paid = after(order(OrderStatus::Placed).settle_payment(&success("p", DUE, "EUR")));
    let held = paid.settle_reservation(&ReservationOutcome::Held, at(1), within);
    assert_eq!(told(held.clone()), "confirmed +awaiting_payment +confirmed");
    assert_eq!(after(held).payments[0].state, PaymentState::Applied);
    let rejected = paid.settle_reservation(&rejection(), at(1), within);
    assert_eq!(told(rejected), "rejected +rejected +refund_due");
    assert_eq!(told(paid.cancel()), "cancelled customer +cancelled +refund_due");

    let failed = after(order(OrderStatus::Placed).settle_payment(&failure("p")));
    let held = failed.settle_reservation(&ReservationOutcome::Held, at(1), within);
    assert_eq!(told(held), "cancelled payment_failed +awaiting_payment +cancelled");

    let twice = after(paid.settle_payment(&success("q", DUE, "EUR")));
    let held = twice.settle_reservation(&ReservationOutcome::Held, at(1), within);
    assert_eq!(told(held), "confirmed +awaiting_payment +confirmed +refund_due");
}

#[test]
fn only_an_unpaid_order_whose_time_is_over_expires() {
    for status in ALL {
        let expected = match status {
            OrderStatus::AwaitingPayment => "cancelled expired +cancelled",
            OrderStatus::Placed
            | OrderStatus::Confirmed
            | OrderStatus::Rejected
            | OrderStatus::Cancelled(_) => "=",
        };
        assert_eq!(told(Ok::<_, ()>(order(status).expire_unpaid(at(60)))), expected, "{status:?}");
        assert_eq!(told(Ok::<_, ()>(order(status).expire_unpaid(at(59)))), "=", "{status:?}");
    }
}

#[test]
fn only_an_order_that_inventory_never_answered_expires_as_placed_and_its_early_payment_goes_back() {
    let limit = TimeDelta::seconds(60);
    for status in ALL {
        let expected = match status {
            OrderStatus::Placed => "cancelled expired +cancelled",
            OrderStatus::AwaitingPayment
            | OrderStatus::Confirmed
            | OrderStatus::Rejected
            | OrderStatus::Cancelled(_) => "=",
        };
        let expire = |now| told(Ok::<_, ()>(order(status).expire_placed(now, limit)));
        assert_eq!(expire(at(60)), expected, "{status:?}");
        assert_eq!(expire(at(59)), "=", "{status:?}");
    }
    let paid = after(order(OrderStatus::Placed).settle_payment(&success("p", DUE, "EUR")));
    let expired = Ok::<_, ()>(paid.expire_placed(at(60), limit));
    assert_eq!(told(expired.clone()), "cancelled expired +cancelled +refund_due");
    let late = after(expired).settle_reservation(&ReservationOutcome::Held, at(61), limit);
    assert_eq!(told(late), "=", "inventory's answer comes too late");
}

fn product(sku: &str, price_minor: i64, currency: &str, sellable: bool) -> (Sku, Product) {
    let sku = Sku::parse(sku).unwrap();
    let currency = Currency::parse(currency).unwrap();
    let name = "x".to_owned();
    (sku.clone(), Product { sku, name, price_minor, currency, sellable, row_version: 1 })
}

fn place(lines: &[(&str, i64)]) -> Result<Placed, PlaceOrderRefusal> {
    let products = HashMap::from([
        product("TEA", 1250, "EUR", true),
        product("CUP", 300, "EUR", true),
        product("OLD", 100, "EUR", false),
        product("USA", 100, "USD", true),
        product("GEM", AMOUNT_MINOR_MAX, "EUR", true),
        product("MAX", i64::MAX, "EUR", true),
        product("FREE", 0, "EUR", true),
    ]);
    let wanted = lines.iter().map(|(sku, pieces)| Wanted {
        sku: Sku::parse(sku).unwrap(),
        quantity: Quantity::try_new(*pieces).unwrap(),
    });
    let basket = Basket::try_new(wanted.collect()).unwrap();
    let customer = Customer { id: "ann".into(), tenant: None };
    Order::place(OrderId(Uuid::nil()), customer, &basket, &products, at(0))
}

#[test]
fn a_placed_order_totals_the_prices_of_the_copy() {
    let placed = place(&[("TEA", 2), ("CUP", 1)]).unwrap();
    assert_eq!(placed.order.total, money(2800, "EUR"));
    assert_eq!(placed.lines[0].unit_price_minor, 1250);
    assert_eq!(placed.order.status, OrderStatus::Placed);
    assert_eq!(place(&[("GEM", 1)]).unwrap().order.total.minor, AMOUNT_MINOR_MAX);
    assert_eq!(place(&[("FREE", 9)]).unwrap().order.total.minor, 0);
}

#[test]
fn a_basket_that_can_not_be_priced_is_refused_with_its_line() {
    let sku = |text: &str| Sku::parse(text).unwrap();
    for (lines, refusal) in [
        (
            vec![("TEA", 1), ("NONE", 1)],
            PlaceOrderRefusal::UnknownSku { index: 1, sku: sku("NONE") },
        ),
        (vec![("OLD", 1)], PlaceOrderRefusal::UnknownSku { index: 0, sku: sku("OLD") }),
        (
            vec![("TEA", 1), ("USA", 1)],
            PlaceOrderRefusal::MixedCurrencies { index: 1, sku: sku("USA") },
        ),
        (vec![("GEM", 1), ("CUP", 1)], PlaceOrderRefusal::TotalTooLarge),
        (vec![("MAX", 1), ("TEA", 1)], PlaceOrderRefusal::TotalTooLarge),
        (vec![("MAX", 10_000)], PlaceOrderRefusal::TotalTooLarge),
    ] {
        assert_eq!(place(&lines).unwrap_err(), refusal, "{lines:?}");
    }
}
