//! What is promised while PostgreSQL or Kafka are away.

use reqwest::{Method, StatusCode};

use crate::harness::{basket, spawn_app, spawn_app_with, start};

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_orders_are_accepted_and_the_service_stays_ready() {
    let app =
        spawn_app_with(&[("KAFKA__BROKERS", "127.0.0.1:1"), ("SHUTDOWN__BUDGET", "3s")]).await;
    app.product("TEA-1", 1250, "EUR").await;
    let order = app.place("ann", "k", &basket("TEA-1", 2)).await.order();
    assert_eq!(app.status(order).await, "placed");
    assert_eq!(app.count("outbox").await, 2);
    let ready = app.send(app.anonymous(Method::GET, "/readyz")).await;
    assert_eq!(ready.status, StatusCode::OK, "{}", ready.text);
    app.abandon().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgresql_requests_get_503_with_retry_after() {
    let app =
        spawn_app_with(&[("DATABASE__PORT", "1"), ("DATABASE__ACQUIRE_TIMEOUT", "100ms")]).await;
    for request in [
        app.request(Method::POST, "/api/v1/orders", "ann")
            .header("Idempotency-Key", "k")
            .json(&basket("TEA-1", 1)),
        app.request(Method::GET, "/api/v1/orders", "ann"),
        app.request(Method::GET, "/api/v1/orders/01927c1e-0000-7000-8000-000000000001", "ann"),
        app.request(
            Method::POST,
            "/api/v1/orders/01927c1e-0000-7000-8000-000000000001/cancel",
            "ann",
        ),
    ] {
        let answer = app.send(request).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text);
        assert_eq!(answer.code(), "store.unavailable");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    let ready = app.send(app.anonymous(Method::GET, "/readyz")).await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    let live = app.send(app.anonymous(Method::GET, "/livez")).await;
    assert_eq!(live.status, StatusCode::OK);
    app.abandon().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_before_a_stop_is_published_after_the_start() {
    let app = spawn_app().await;
    app.product("TEA-1", 1250, "EUR").await;
    let order = app.place("ann", "k", &basket("TEA-1", 2)).await.order();
    let ground = app.stop().await;
    let app = start(ground, &[]).await;
    assert_eq!(app.order_events(order).await, ["order.placed"]);
    app.finish(0).await;
}
