//! The circuit in front of each upstream.

use std::time::Duration;

use millrace_testkit::ports;
use millrace_testkit::tokens::admin_token;
use reqwest::Method;
use serde_json::json;

use crate::harness::{Reply, TestGateway, send, spawn, spawn_with};
use crate::upstream::{Answer, status, usual};

const SMALL: [(&str, &str); 4] = [
    ("BREAKER__WINDOW", "10"),
    ("BREAKER__VOLUME", "5"),
    ("BREAKER__OPEN_FOR", "5s"),
    ("BREAKER__PROBES", "2"),
];

async fn circuit(gateway: &TestGateway) -> Reply {
    gateway.admin("/actuator/health").await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_opens_on_failures_rests_and_closes_after_good_probes() {
    let gateway = spawn_with(&SMALL).await;
    gateway.upstream.answers(status(503, "{\"code\":\"store.unavailable\"}"));
    for _ in 0..5 {
        let reply = gateway.get("/api/v1/orders").await;
        assert_eq!(
            (reply.status, reply.code()),
            (503, "store.unavailable"),
            "its own words pass through"
        );
    }
    let refused = gateway.get("/api/v1/orders").await;
    assert_eq!((refused.status, refused.code()), (503, "gateway.circuit_open"));
    assert_eq!(refused.header("retry-after"), "5");
    assert_eq!(refused.body["data"]["upstream"], "order");
    assert_eq!(gateway.upstream.seen().len(), 5);

    let health = circuit(&gateway).await;
    assert_eq!((health.status, &health.body["status"]), (503, &json!("DOWN")));
    assert_eq!(health.body["components"]["orderUpstream"]["details"]["circuit"], "open");
    assert_eq!(health.body["components"]["inventoryUpstream"]["status"], "UP");
    assert_eq!(gateway.admin("/readyz").await.status, 200, "the gateway still serves the others");
    assert!(gateway.metrics().await.contains("gateway_circuit_state{"));

    gateway.upstream.answers(usual());
    assert_eq!(
        gateway.get("/api/v1/products/tea").await.status,
        200,
        "another upstream is not affected"
    );
    gateway.clock.advance(Duration::from_secs(5));
    assert_eq!(gateway.get("/api/v1/orders").await.status, 200);
    let health = circuit(&gateway).await;
    assert_eq!(health.body["components"]["orderUpstream"]["details"]["circuit"], "half-open");
    assert_eq!(gateway.get("/api/v1/orders").await.status, 200);
    let health = circuit(&gateway).await;
    assert_eq!(
        (health.status, &health.body["components"]["orderUpstream"]["status"]),
        (200, &json!("UP"))
    );
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_probe_opens_it_again() {
    let gateway = spawn_with(&SMALL).await;
    gateway.upstream.answers(status(502, "{}"));
    for _ in 0..5 {
        gateway.get("/api/v1/orders").await;
    }
    gateway.clock.advance(Duration::from_secs(5));
    assert_eq!(gateway.get("/api/v1/orders").await.status, 502);
    assert_eq!(gateway.get("/api/v1/orders").await.code(), "gateway.circuit_open");
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_does_wrong_never_opens_it() {
    let gateway = spawn_with(&SMALL).await;
    gateway.upstream.answers(status(422, "{\"code\":\"order.unknown_sku\"}"));
    for _ in 0..10 {
        assert_eq!(gateway.get("/api/v1/orders").await.status, 422);
    }
    gateway.upstream.answers(Answer::Held);
    for _ in 0..6 {
        let impatient =
            gateway.request(Method::GET, "/api/v1/orders").header("x-millrace-deadline-ms", "40");
        assert_eq!(send(impatient).await.status, 504);
    }
    let health = circuit(&gateway).await;
    assert_eq!(health.body["components"]["orderUpstream"]["details"]["circuit"], "closed");
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_not_there_answers_503_and_a_read_is_tried_once_more() {
    let [nobody] = ports::free().unwrap();
    let address = format!("http://127.0.0.1:{nobody}");
    let gateway = spawn_with(&[("UPSTREAMS__AUDIT", &address)]).await;
    let request =
        gateway.anonymous(Method::GET, "/api/v1/audit/records").bearer_auth(admin_token());
    let reply = send(request).await;
    assert_eq!((reply.status, reply.code()), (503, "gateway.upstream_unavailable"));
    assert_eq!(reply.header("retry-after"), "1");
    assert_eq!(reply.body["data"]["upstream"], "audit");
    let metrics = gateway.metrics().await;
    let retries = metrics.lines().find(|line| line.starts_with("gateway_upstream_retries_total{"));
    assert!(retries.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_never_sent_twice() {
    let gateway = spawn().await;
    gateway.upstream.answers(status(503, "{}"));
    let reply = send(gateway.request(Method::POST, "/api/v1/orders").body("{}")).await;
    assert_eq!(reply.status, 503);
    gateway.upstream.answers(Answer::Broken(Vec::new()));
    gateway.upstream.release();
    let reply = send(gateway.request(Method::POST, "/api/v1/orders").body("{}")).await;
    assert_eq!((reply.status, reply.code()), (503, "gateway.upstream_unavailable"));
    assert_eq!(gateway.upstream.seen().len(), 2);
    gateway.finish().await;
}
