//! The callback: who is believed, what is taken down, and that once.

use futures::future::join_all;
use millrace_common::runtime::Clock;
use millrace_contracts::Topic;
use millrace_testkit::payments;
use reqwest::StatusCode;
use serde_json::json;
use uuid::Uuid;

use crate::harness::{PAYMENT_SECRET, spawn_app};
use crate::outside::callback;

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_order_is_confirmed() {
    let app = spawn_app().await;
    let order = app.awaiting_payment().await;
    let taken = app.call_back(&callback(order, "pay-1", "succeeded")).await;
    assert_eq!(taken.status, StatusCode::ACCEPTED, "{}", taken.text);
    assert_eq!(taken.data("payment_id"), "pay-1");
    app.wait_status(order, "confirmed").await;
    let found = app.get(&format!("/api/v1/orders/{order}"), "ann").await;
    assert_eq!(found.data("payment_id"), "pay-1");
    assert_eq!(found.body["data"]["pay_until"], json!(null));
    assert_eq!(
        app.order_events(order).await,
        ["order.placed", "order.awaiting_payment", "order.confirmed"]
    );
    assert_eq!(
        app.audit_trail(order).await,
        [
            "order.place done",
            "order.settle_reservation done",
            "payment.receive done",
            "payment.apply done"
        ]
    );
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_payment_cancels_the_order() {
    let app = spawn_app().await;
    let order = app.awaiting_payment().await;
    let mut body = callback(order, "pay-1", "failed");
    body["reason"] = json!("card declined");
    assert_eq!(app.call_back(&body).await.status, StatusCode::ACCEPTED);
    app.wait_status(order, "cancelled payment_failed").await;
    let published = app.envelopes(Topic::PaymentResults, &order.to_string()).await;
    assert_eq!(published[0]["type"], "payment.failed");
    assert_eq!(published[0]["payload"]["reason"], "card declined");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_callback_again_gets_the_first_answer_and_has_no_second_effect() {
    let app = spawn_app().await;
    let order = app.awaiting_payment().await;
    let body = callback(order, "pay-1", "succeeded");
    let answers = join_all((0..8).map(|_| app.call_back(&body))).await;
    let accepted: Vec<&str> = answers
        .iter()
        .filter(|answer| answer.status == StatusCode::ACCEPTED)
        .map(|answer| answer.text.as_str())
        .collect();
    assert!(!accepted.is_empty());
    for answer in &answers {
        let known = answer.code() == "idempotency.in_flight" || answer.text == accepted[0];
        assert!(known, "{}", answer.text);
    }
    let again = app.call_back(&body).await;
    assert_eq!((again.status, again.text.as_str()), (StatusCode::ACCEPTED, accepted[0]));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    app.wait_status(order, "confirmed").await;
    assert_eq!(app.envelopes(Topic::PaymentResults, &order.to_string()).await.len(), 1);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_payment_with_another_content_is_refused() {
    let app = spawn_app().await;
    let order = app.awaiting_payment().await;
    app.call_back(&callback(order, "pay-1", "succeeded")).await;
    let mut body = callback(order, "pay-1", "succeeded");
    body["amount_minor"] = json!(1);
    for body in [body, callback(order, "pay-1", "failed")] {
        let refused = app.call_back(&body).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refused.code(), "idempotency.key_reused");
        assert_eq!(refused.fields(), ["payment_id"]);
    }
    app.wait_status(order, "confirmed").await;
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_is_not_believed_writes_nothing() {
    let app = spawn_app().await;
    let order = app.placed().await;
    app.wait_outbox_empty().await;
    let body = callback(order, "pay-1", "succeeded").to_string().into_bytes();
    let now = Clock::system().now_ms() / 1000;
    let good = payments::sign(PAYMENT_SECRET, &body);
    let with_signature =
        |value: &str| vec![good[0].clone(), (payments::SIGNATURE_HEADER, value.to_owned())];
    for (headers, code) in [
        (vec![], "payment.bad_signature"),
        (vec![good[0].clone()], "payment.bad_signature"),
        (vec![good[1].clone()], "payment.bad_signature"),
        (vec![good[0].clone(), good[1].clone(), good[1].clone()], "payment.bad_signature"),
        (with_signature("v1=00"), "payment.bad_signature"),
        (with_signature("nonsense"), "payment.bad_signature"),
        (payments::sign("another secret", &body).into(), "payment.bad_signature"),
        (payments::sign(PAYMENT_SECRET, b"{}").into(), "payment.bad_signature"),
        (payments::sign_at(PAYMENT_SECRET, &body, now - 400).into(), "payment.outside_window"),
        (payments::sign_at(PAYMENT_SECRET, &body, now + 400).into(), "payment.outside_window"),
    ] {
        let refused = app.call_back_with(&headers, body.clone()).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{headers:?}");
        assert_eq!(refused.code(), code, "{headers:?}");
        assert!(!refused.fields().is_empty(), "{headers:?}");
    }
    let unknown = app.call_back(&callback(Uuid::now_v7(), "pay-1", "succeeded")).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(unknown.code(), "payment.unknown_order");
    assert_eq!(app.count("outbox").await, 0);
    assert_eq!(app.count("idempotency").await, 1, "the order's own key");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_right_signature_among_several_is_enough() {
    let app = spawn_app().await;
    let order = app.awaiting_payment().await;
    let body = callback(order, "pay-1", "succeeded").to_string().into_bytes();
    let [timestamp, (name, ours)] = payments::sign(PAYMENT_SECRET, &body);
    let [_, (_, theirs)] = payments::sign("the next secret", &body);
    let headers = [timestamp, (name, format!("{theirs}, {ours}"))];
    assert_eq!(app.call_back_with(&headers, body).await.status, StatusCode::ACCEPTED);
    app.wait_status(order, "confirmed").await;
    app.finish(0).await;
}
