//! Payment results settle orders, are kept, go back, or are refused; each counts once.

use millrace_contracts::Topic;
use serde_json::Value;

use crate::harness::{TestApp, spawn_app};
use crate::outside::{envelope, failed, held, rejected, succeeded};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_comes_before_the_reservation_is_kept_and_then_applied() {
    let app = spawn_app().await;
    let order = app.placed().await;
    app.tell(&envelope("order", succeeded(order, "pay-1", 2500))).await;
    app.wait_payment(order, "kept").await;
    assert_eq!(app.status(order).await, "placed");
    app.hold(order).await;
    app.wait_status(order, "confirmed").await;
    assert_eq!(
        app.order_events(order).await,
        ["order.placed", "order.awaiting_payment", "order.confirmed"]
    );
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_failure_cancels_the_order_once_its_stock_is_held() {
    let app = spawn_app().await;
    let order = app.placed().await;
    app.tell(&envelope("order", failed(order, "pay-1"))).await;
    app.wait_payment(order, "kept").await;
    app.hold(order).await;
    app.wait_status(order, "cancelled payment_failed").await;
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_amount_is_refused_and_audited_and_the_right_one_still_counts() {
    let app = spawn_app().await;
    let order = app.awaiting_payment().await;
    app.tell(&envelope("order", succeeded(order, "pay-1", 2499))).await;
    app.tell(&envelope("order", succeeded(order, "pay-2", 2500))).await;
    app.wait_status(order, "confirmed").await;
    let found = app.get(&format!("/api/v1/orders/{order}"), "ann").await;
    assert_eq!(found.data("payment_id"), "pay-2");
    let audits = app.envelopes(Topic::AuditTopic, &format!("order/{order}")).await;
    let refusal = audits.iter().find(|it| it["payload"]["outcome"] == "refused").unwrap();
    assert_eq!(refusal["payload"]["action"], "payment.apply");
    assert_eq!(refusal["payload"]["detail"]["paid"], "2499 EUR");
    assert_eq!(refusal["payload"]["detail"]["due"], "2500 EUR");
    assert_eq!(
        app.order_events(order).await,
        ["order.placed", "order.awaiting_payment", "order.confirmed"]
    );
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_for_a_cancelled_order_goes_back() {
    let app = spawn_app().await;
    let order = app.placed().await;
    app.cancel("ann", order).await;
    app.tell(&envelope("order", succeeded(order, "pay-1", 2500))).await;
    assert_refund(&app, order, "order_cancelled", "pay-1").await;
    assert_eq!(app.status(order).await, "cancelled customer");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_for_a_rejected_order_goes_back_also_when_it_came_early() {
    let app = spawn_app().await;
    let late = app.placed().await;
    app.tell(&envelope("inventory", rejected(late))).await;
    app.wait_status(late, "rejected").await;
    app.tell(&envelope("order", succeeded(late, "pay-1", 2500))).await;
    assert_refund(&app, late, "order_rejected", "pay-1").await;

    let early = app.placed().await;
    app.tell(&envelope("order", succeeded(early, "pay-2", 2500))).await;
    app.wait_payment(early, "kept").await;
    app.tell(&envelope("inventory", rejected(early))).await;
    assert_refund(&app, early, "order_rejected", "pay-2").await;
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_payment_of_a_confirmed_order_goes_back_once() {
    let app = spawn_app().await;
    let order = app.awaiting_payment().await;
    app.tell(&envelope("order", succeeded(order, "pay-1", 2500))).await;
    app.wait_status(order, "confirmed").await;
    for _ in 0..2 {
        // Other ids, so other messages: the payments table knows the payment, the inbox doesn't.
        app.tell(&envelope("order", succeeded(order, "pay-1", 2500))).await;
        app.tell(&envelope("order", succeeded(order, "pay-2", 2500))).await;
    }
    assert_refund(&app, order, "already_paid", "pay-2").await;
    let later = app.awaiting_payment().await;
    app.tell(&envelope("order", succeeded(later, "pay-3", 2500))).await;
    app.wait_status(later, "confirmed").await;
    let all = app.order_events(order).await;
    assert_eq!(all.iter().filter(|it| *it == "order.refund_due").count(), 1, "{all:?}");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_order_of_redelivery_gives_the_same_end_state() {
    let app = spawn_app().await;
    let mut orders = Vec::new();
    for turn in 0..6 {
        let order = app.placed().await;
        let (reservation, payment) = (
            envelope("inventory", held(order)),
            envelope("order", succeeded(order, &format!("pay-{turn}"), 2500)),
        );
        // Each turn delivers both news two or three times in another interleaving.
        for step in 0..5 {
            if (turn >> (step % 3)) & 1 == 0 {
                app.tell(&reservation).await;
            } else {
                app.tell(&payment).await;
            }
        }
        app.tell(&payment).await;
        app.tell(&reservation).await;
        orders.push(order);
    }
    for order in orders {
        app.wait_status(order, "confirmed").await;
        let events = app.order_events(order).await;
        assert_eq!(events, ["order.placed", "order.awaiting_payment", "order.confirmed"]);
    }
    app.finish(0).await;
}

async fn assert_refund(app: &TestApp, order: Uuid, reason: &str, payment_id: &str) {
    let found = millrace_testkit::wait_until("refund due", crate::harness::PATIENCE, || async {
        let events = app.envelopes(Topic::OrderEvents, &order.to_string()).await;
        events.into_iter().find(|event| event["type"] == "order.refund_due")
    })
    .await;
    let expected: Value = serde_json::json!({
        "order_id": order, "payment_id": payment_id, "amount_minor": 2500, "currency": "EUR",
        "reason": reason,
    });
    assert_eq!(found["payload"], expected);
}
