//! A customer cancels, before and after the reservation, once and again.

use millrace_contracts::Topic;
use reqwest::StatusCode;

use crate::harness::spawn_app;
use crate::outside::{envelope, held, rejected, succeeded};

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_order_stays_cancelled_when_its_reservation_comes_late() {
    let app = spawn_app().await;
    let order = app.placed().await;
    let cancelled = app.cancel("ann", order).await;
    assert_eq!(cancelled.status, StatusCode::OK, "{}", cancelled.text);
    assert_eq!((cancelled.data("status"), cancelled.data("reason")), ("cancelled", "customer"));
    app.tell(&envelope("inventory", held(order))).await;
    app.tell(&envelope("inventory", rejected(order))).await;
    let other = app.awaiting_payment().await;
    app.wait_status(other, "awaiting_payment").await;
    assert_eq!(app.status(order).await, "cancelled customer");
    assert_eq!(app.order_events(order).await, ["order.placed", "order.cancelled"]);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_again_answers_the_same_and_does_nothing() {
    let app = spawn_app().await;
    let order = app.awaiting_payment().await;
    let first = app.cancel("ann", order).await;
    let again = app.cancel("ann", order).await;
    assert_eq!((again.status, &again.text), (first.status, &first.text));
    assert_eq!(
        app.order_events(order).await,
        ["order.placed", "order.awaiting_payment", "order.cancelled"]
    );
    assert_eq!(
        app.audit_trail(order).await,
        ["order.place done", "order.settle_reservation done", "order.cancel done"]
    );
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settled_order_is_not_cancelled_and_the_attempt_is_audited() {
    let app = spawn_app().await;
    let order = app.placed().await;
    app.tell(&envelope("inventory", rejected(order))).await;
    app.wait_status(order, "rejected").await;
    let refused = app.cancel("ann", order).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(refused.code(), "order.not_cancellable");
    assert_eq!(refused.data("status"), "rejected");
    assert_eq!(app.audit_trail(order).await.last().unwrap(), "order.cancel refused");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_order_is_not_found_and_stays() {
    let app = spawn_app().await;
    let order = app.placed().await;
    let refused = app.cancel("bob", order).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    assert_eq!(refused.code(), "order.not_found");
    assert_eq!(app.status(order).await, "placed");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_came_early_goes_back_when_the_order_is_cancelled() {
    let app = spawn_app().await;
    let order = app.placed().await;
    app.tell(&envelope("order", succeeded(order, "pay-1", 2500))).await;
    app.wait_payment(order, "kept").await;
    app.cancel("ann", order).await;
    app.wait_payment(order, "refund_due").await;
    let events = app.envelopes(Topic::OrderEvents, &order.to_string()).await;
    let refund = events.last().unwrap();
    assert_eq!(refund["type"], "order.refund_due");
    assert_eq!(refund["payload"]["payment_id"], "pay-1");
    assert_eq!(refund["payload"]["amount_minor"], 2500);
    assert_eq!(refund["payload"]["reason"], "order_cancelled");
    app.finish(0).await;
}
