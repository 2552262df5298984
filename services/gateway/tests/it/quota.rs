//! Quotas: who has used up theirs waits as long as the headers say, and not longer.

use std::time::Duration;

use millrace_testkit::tokens::customer_token;
use reqwest::Method;

use crate::harness::{Reply, TestGateway, send, spawn_with};

const TABLE: &str = "
routes:
  - { path: /api/v1/things, methods: [GET], auth: jwt, upstream: order, deadline: 10s,
      body_max: 0B, quota: { per_second: 0.5, burst: 3, by: caller } }
  - { path: /api/v1/open, methods: [GET], auth: hmac, upstream: order, deadline: 10s,
      body_max: 0B, quota: { per_second: 1, burst: 1, by: ip } }
";

async fn ask(gateway: &TestGateway, subject: &str) -> Reply {
    let request = gateway.anonymous(Method::GET, "/api/v1/things");
    send(request.bearer_auth(customer_token(subject))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_passes_and_the_refusals_three_headers_agree() {
    let gateway = spawn_with(&[("routes:", TABLE)]).await;
    for remaining in [2, 1, 0] {
        let reply = ask(&gateway, "ann").await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("ratelimit-policy"), "\"route\";q=3;w=6");
        let limit = format!("\"route\";r={remaining};t={}", (3 - remaining) * 2);
        assert_eq!(reply.header("ratelimit"), limit);
    }
    let refused = ask(&gateway, "ann").await;
    assert_eq!((refused.status, refused.code()), (429, "http.rate_limited"));
    assert_eq!(refused.header("retry-after"), "2");
    assert_eq!(refused.header("ratelimit"), "\"route\";r=0;t=2");
    assert_eq!(refused.header("ratelimit-policy"), "\"route\";q=3;w=6");
    assert_eq!(gateway.upstream.seen().len(), 3);

    assert_eq!(ask(&gateway, "bob").await.status, 200, "another caller has a quota of its own");
    gateway.clock.advance(Duration::from_secs(2));
    assert_eq!(ask(&gateway, "ann").await.status, 200, "after Retry-After it passes");
    assert_eq!(ask(&gateway, "ann").await.status, 429);
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_forwarded_address_buys_no_new_quota() {
    let gateway = spawn_with(&[("routes:", TABLE)]).await;
    let from = |address: &str| {
        send(gateway.anonymous(Method::GET, "/api/v1/open").header("x-forwarded-for", address))
    };
    assert_eq!(from("1.1.1.1").await.status, 200);
    assert_eq!(from("2.2.2.2").await.status, 429);
    assert_eq!(gateway.upstream.last().header("x-forwarded-for"), Some("127.0.0.1"));
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_clients_are_told_apart() {
    let gateway = spawn_with(&[("routes:", TABLE), ("GATEWAY__PROXIES_TRUSTED", "1")]).await;
    let from = |way: &str| {
        send(gateway.anonymous(Method::GET, "/api/v1/open").header("x-forwarded-for", way))
    };
    assert_eq!(from("9.9.9.9, 1.1.1.1").await.status, 200);
    assert_eq!(from("8.8.8.8, 1.1.1.1").await.status, 429);
    assert_eq!(from("9.9.9.9, 2.2.2.2").await.status, 200);
    assert_eq!(gateway.upstream.last().header("x-forwarded-for"), Some("2.2.2.2, 127.0.0.1"));
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstreams_error_still_tells_where_the_caller_stands() {
    let gateway = spawn_with(&[("routes:", TABLE)]).await;
    gateway.upstream.answers(crate::upstream::status(404, "{\"code\":\"order.not_found\"}"));
    let reply = ask(&gateway, "ann").await;
    assert_eq!((reply.status, reply.code()), (404, "order.not_found"));
    assert_eq!(reply.header("ratelimit"), "\"route\";r=2;t=2");
    gateway.finish().await;
}
