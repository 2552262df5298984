//! Which pages may call from a browser.

use reqwest::{Method, RequestBuilder};

use crate::harness::{TestGateway, send, spawn, spawn_with};

const SHOP: &str = "https://shop.example";

fn preflight(gateway: &TestGateway, origin: &str, method: &str, headers: &str) -> RequestBuilder {
    gateway
        .anonymous(Method::OPTIONS, "/api/v1/orders")
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", headers)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_page_gets_its_preflight_without_a_token_and_may_read_answers_and_errors() {
    let gateway = spawn_with(&[("GATEWAY__CORS_ORIGINS", SHOP)]).await;
    let reply =
        send(preflight(&gateway, SHOP, "POST", "authorization,idempotency-key,traceparent")).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("access-control-allow-origin"), SHOP);
    assert!(reply.header("access-control-allow-methods").contains("POST"));
    assert_eq!(reply.header("access-control-max-age"), "600");
    assert!(reply.header("vary").to_lowercase().contains("origin"));
    assert!(gateway.upstream.seen().is_empty());

    let answer = send(gateway.request(Method::GET, "/api/v1/orders").header("origin", SHOP)).await;
    assert_eq!(answer.header("access-control-allow-origin"), SHOP);
    assert!(answer.header("access-control-expose-headers").contains("retry-after"));
    let refused =
        send(gateway.anonymous(Method::GET, "/api/v1/orders").header("origin", SHOP)).await;
    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, SHOP));
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_page_gets_no_permission_and_never_a_star() {
    let gateway = spawn_with(&[("GATEWAY__CORS_ORIGINS", SHOP)]).await;
    for origin in ["https://evil.example", "https://shop.example.evil.example", "null"] {
        let reply = send(preflight(&gateway, origin, "POST", "authorization")).await;
        assert_eq!(
            (reply.status, reply.header("access-control-allow-origin")),
            (400, ""),
            "{origin}"
        );
        assert_eq!(reply.code(), "http.invalid_request", "in the reply form: {reply:?}");
        let answer =
            send(gateway.request(Method::GET, "/api/v1/orders").header("origin", origin)).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, ""));
    }
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_no_page_may() {
    let gateway = spawn().await;
    let reply = send(preflight(&gateway, SHOP, "GET", "authorization")).await;
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (400, ""));
    gateway.finish().await;
}
