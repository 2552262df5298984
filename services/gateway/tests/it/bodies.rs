//! Bodies are bounded before an upstream hears of them.

use futures::stream;
use reqwest::{Body, Method};

use crate::harness::{send, spawn, spawn_with};

const MEBIBYTE: usize = 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_body_above_the_routes_bound_answers_413_with_and_without_a_length() {
    let gateway = spawn().await;
    let announced = gateway.request(Method::POST, "/api/v1/orders").body(vec![b' '; 10 * MEBIBYTE]);
    let pieces = (0..160).map(|_| Ok::<_, std::io::Error>(vec![b' '; 64 * 1024]));
    let chunked = gateway
        .request(Method::POST, "/api/v1/orders")
        .body(Body::wrap_stream(stream::iter(pieces)));
    for request in [announced, chunked] {
        let reply = send(request).await;
        assert_eq!((reply.status, reply.code()), (413, "http.body_too_large"));
        assert_eq!(reply.body["data"]["body_bytes_max"], 64 * 1024);
    }
    assert!(gateway.upstream.seen().is_empty());
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_just_the_bound_passes_whole() {
    let gateway = spawn().await;
    let body = vec![b'x'; 64 * 1024];
    let reply = send(gateway.request(Method::POST, "/api/v1/orders").body(body.clone())).await;
    assert_eq!(reply.status, 200);
    assert_eq!(gateway.upstream.last().body, body);
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_takes_no_body() {
    let gateway = spawn().await;
    let reply = send(gateway.request(Method::GET, "/api/v1/orders").body("{}")).await;
    assert_eq!((reply.status, reply.code()), (413, "http.body_too_large"));
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_too_slowly_is_told_so_and_the_upstream_is_not_blamed() {
    let table = "
routes:
  - { path: /api/v1/things, methods: [POST], auth: hmac, upstream: order, deadline: 100ms,
      body_max: 1KiB, quota: { per_second: 100, burst: 100, by: ip } }
";
    let gateway = spawn_with(&[("routes:", table)]).await;
    let never = Body::wrap_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let reply = send(gateway.anonymous(Method::POST, "/api/v1/things").body(never)).await;
    assert_eq!((reply.status, reply.code()), (408, "gateway.slow_request"));
    assert!(gateway.upstream.seen().is_empty());
    gateway.finish().await;
}
