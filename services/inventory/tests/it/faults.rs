//! Servers that go away and come back, on a stack of the test's own.

use std::time::Duration;

use millrace_testkit::{Stack, wait_until};
use reqwest::{Method, StatusCode};
use serde_json::json;
use uuid::Uuid;

use crate::harness::{SOON, Wish, placed, spawn_app_with};

/// Clients look for a server that came back after growing waits.
const BACK: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn without_postgresql_requests_get_503_and_orders_wait() {
    let stack = Stack::private().await.expect("a stack");
    let settings = vec![("DATABASE__ACQUIRE_TIMEOUT", "300ms")];
    let app = spawn_app_with(&stack, Wish { settings, ..Wish::default() }).await;
    app.stock_up("A", 10).await;
    app.wait_for_empty_outbox().await;
    stack.postgres().stop().await.expect("PostgreSQL stops");
    let read = app.customer.get("/api/v1/products/A").await.unwrap();
    assert_eq!(
        (read.status, read.code.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "store.unavailable")
    );
    assert_eq!(read.headers["retry-after"], "1");
    let order = Uuid::now_v7();
    app.send(&[placed(order, &[("A", 1)])]).await;
    stack.postgres().start().await.expect("PostgreSQL starts");
    wait_until("an answer again", BACK, || async {
        match app.customer.get("/api/v1/products/A").await {
            Ok(reply) if reply.status == StatusCode::OK => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    app.wait_for_status(order, "held").await;
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_products_are_taken_and_told_later() {
    let stack = Stack::private().await.expect("a stack");
    let app = spawn_app_with(&stack, Wish::default()).await;
    app.stock_up("A", 1).await;
    app.wait_for_empty_outbox().await;
    stack.kafka().kill();
    let body = json!({"name": "b", "price_minor": 5, "currency": "EUR", "sellable": true});
    let request = app.admin.request(Method::PUT, "/api/v1/products/B").json(&body);
    assert_eq!(app.admin.send(request).await.unwrap().status, StatusCode::CREATED);
    let ready = reqwest::get(format!("{}/readyz", app.base())).await.unwrap();
    assert_eq!(ready.status(), StatusCode::OK);
    assert!(app.count("select count(*) from outbox").await > 0);
    stack.kafka().restart().await.expect("Kafka starts");
    wait_until("an empty outbox", BACK, || async {
        app.count("select count(*) from outbox").await == 0
    })
    .await;
    let order = Uuid::now_v7();
    app.send(&[placed(order, &[("A", 1)])]).await;
    wait_until("the order held", SOON + BACK, || async {
        app.status(order).await.as_deref() == Some("held")
    })
    .await;
    app.finish().await;
}
