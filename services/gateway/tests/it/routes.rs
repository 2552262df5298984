//! What is passed on, to whom, and what is answered here.

use millrace_testkit::tokens::admin_token;
use reqwest::Method;

use crate::harness::{send, spawn, spawn_with};

#[tokio::test(flavor = "multi_thread")]
async fn every_public_route_reaches_its_upstream_as_it_was_asked() {
    let gateway = spawn().await;
    for (method, target, upstream) in [
        ("POST", "/api/v1/orders", "order"),
        ("GET", "/api/v1/orders?limit=2&cursor=a%2Bb", "order"),
        ("GET", "/api/v1/orders/0190", "order"),
        ("POST", "/api/v1/orders/0190/cancel", "order"),
        ("POST", "/api/v1/payments/results", "order"),
        ("GET", "/api/v1/products?sku=a,b", "inventory"),
        ("GET", "/api/v1/products/tea%20pot%2F1", "inventory"),
        ("PUT", "/api/v1/products/tea", "inventory"),
        ("POST", "/api/v1/stock/tea/adjustments", "inventory"),
        ("GET", "/api/v1/audit/records?actor=ann", "audit"),
        ("GET", "/api/v1/logs?level=WARN", "log-ingest"),
    ] {
        let method: Method = method.parse().unwrap();
        let body = if method == Method::GET { "" } else { "{\"a\":1}" };
        let request =
            gateway.anonymous(method.clone(), target).bearer_auth(admin_token()).body(body);
        let reply = send(request).await;
        assert_eq!((reply.status, reply.body["message"].as_str()), (200, Some("from upstream")));
        let seen = gateway.upstream.last();
        assert_eq!((seen.upstream, seen.method.as_str()), (upstream, method.as_str()), "{target}");
        assert_eq!((seen.target.as_str(), &seen.body[..]), (target, body.as_bytes()));
    }
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_not_listed_answers_404_in_the_reply_form() {
    let gateway = spawn().await;
    for path in
        ["/api/v1/secrets", "/api/v1/orders/1/items", "/api/v2/orders", "/api", "/api/v1/orders/"]
    {
        let reply = gateway.get(path).await;
        assert_eq!((reply.status, reply.code()), (404, "gateway.unknown_route"), "{path}");
    }
    assert_eq!(gateway.get("/elsewhere").await.code(), "http.not_found");
    assert!(gateway.upstream.seen().is_empty());
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_path_with_another_method_answers_405_and_names_its_methods() {
    let gateway = spawn().await;
    let delete = send(gateway.request(Method::DELETE, "/api/v1/orders")).await;
    assert_eq!((delete.status, delete.code()), (405, "http.method_not_allowed"));
    assert_eq!(delete.header("allow"), "POST, GET");
    let head = gateway.request(Method::HEAD, "/api/v1/orders/1").send().await.unwrap();
    assert_eq!(head.status(), 405);
    assert!(gateway.upstream.seen().is_empty());
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_with_dot_segments_reaches_no_upstream() {
    let gateway = spawn().await;
    let token = admin_token();
    for path in ["/api/v1/products/%2e%2e", "/api/v1/products/..", "/api/v1/products/%2E%2e?sku=a"]
    {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        let answer = gateway.raw(&request).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
        assert!(answer.contains("gateway.unknown_route"), "{answer}");
    }
    assert!(gateway.upstream.seen().is_empty());
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_from_a_file_replaces_the_built_in_one_and_prefers_literal_paths() {
    let table = "
routes:
  - { path: '/api/v1/things/{id}', methods: [GET], auth: hmac, upstream: order, deadline: 10s,
      body_max: 0B, quota: { per_second: 100, burst: 100, by: ip } }
  - { path: /api/v1/things/summary, methods: [GET], auth: hmac, upstream: audit, deadline: 10s,
      body_max: 0B, quota: { per_second: 100, burst: 100, by: ip } }
";
    let gateway = spawn_with(&[("routes:", table)]).await;
    assert_eq!(gateway.get("/api/v1/things/7").await.status, 200);
    assert_eq!(gateway.upstream.last().upstream, "order");
    assert_eq!(gateway.get("/api/v1/things/summary").await.status, 200);
    assert_eq!(gateway.upstream.last().upstream, "audit");
    assert_eq!(gateway.get("/api/v1/orders").await.status, 404);
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_gateway_comes_as_a_problem_document_when_asked_for() {
    let gateway = spawn().await;
    let request = gateway
        .request(Method::GET, "/api/v1/secrets")
        .header("accept", "application/problem+json");
    let reply = send(request).await;
    assert_eq!(reply.header("content-type"), "application/problem+json");
    assert_eq!(reply.body["type"], "urn:millrace:error:gateway.unknown_route");
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_api_is_described_where_it_is_served() {
    let gateway = spawn().await;
    let document = send(gateway.anonymous(Method::GET, "/openapi.json")).await;
    assert_eq!((document.status, document.body["openapi"].as_str()), (200, Some("3.1.0")));
    assert!(document.body["paths"]["/api/v1/orders"]["post"].is_object());
    let page = gateway.anonymous(Method::GET, "/docs/").send().await.unwrap();
    assert_eq!(page.status(), 200);
    gateway.finish().await;
}
