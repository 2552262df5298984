//! Which headers cross the gateway.

use millrace_testkit::tokens::customer_token;
use reqwest::Method;

use crate::harness::{send, spawn};
use crate::upstream::Answer;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_can_not_pass_off_internal_or_hop_by_hop_headers() {
    let gateway = spawn().await;
    let token = customer_token("ann");
    let port = gateway.application.port();
    let request = format!(
        "GET /api/v1/orders HTTP/1.1\r\nhost: shop.example:{port}\r\nauthorization: Bearer {token}\r\n\
         connection: close, x-drop-me\r\nx-drop-me: 1\r\nkeep-alive: timeout=9\r\nte: trailers\r\n\
         proxy-authorization: Basic eA==\r\nx-forwarded-for: 6.6.6.6\r\nx-forwarded-proto: https\r\n\
         forwarded: for=6.6.6.6\r\nx-real-ip: 6.6.6.6\r\nx-millrace-actor: root\r\n\
         idempotency-key: k-1\r\naccept-language: de\r\n\r\n"
    );
    assert!(gateway.raw(&request).await.starts_with("HTTP/1.1 200"));
    let seen = gateway.upstream.last();
    for gone in [
        "x-drop-me",
        "keep-alive",
        "te",
        "proxy-authorization",
        "forwarded",
        "x-real-ip",
        "x-millrace-actor",
    ] {
        assert_eq!(seen.header(gone), None, "{gone}");
    }
    for (name, value) in [
        ("idempotency-key", "k-1"),
        ("accept-language", "de"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", &format!("shop.example:{port}")),
        ("host", &format!("127.0.0.1:{}", gateway.upstream.ports[0])),
    ] {
        assert_eq!(seen.header(name), Some(value), "{name}");
    }
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_keeps_its_headers_but_not_those_of_its_connection() {
    let gateway = spawn().await;
    let headers = vec![
        ("content-type", "text/plain"),
        ("location", "/api/v1/orders/7"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("keep-alive", "timeout=9"),
        ("access-control-allow-origin", "*"),
        ("ratelimit", "\"mine\";r=1;t=1"),
    ];
    gateway.upstream.answers(Answer::Whole(202, headers, "taken".into()));
    let reply = send(gateway.request(Method::POST, "/api/v1/orders").body("{}")).await;
    assert_eq!((reply.status, reply.body.as_str()), (202, Some("taken")));
    assert_eq!(reply.header("content-type"), "text/plain");
    assert_eq!(reply.header("location"), "/api/v1/orders/7");
    assert_eq!(reply.header("content-length"), "5");
    assert_eq!(reply.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(reply.headers.get_all("ratelimit").iter().count(), 1);
    assert!(reply.header("ratelimit").starts_with("\"route\""));
    assert!(!reply.headers.contains_key("keep-alive"));
    assert!(!reply.headers.contains_key("access-control-allow-origin"));
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_the_clients_to_follow() {
    let gateway = spawn().await;
    gateway.upstream.answers(Answer::Whole(
        307,
        vec![("location", "http://elsewhere.example/")],
        "".into(),
    ));
    let reply = gateway.get("/api/v1/orders").await;
    assert_eq!((reply.status, reply.header("location")), (307, "http://elsewhere.example/"));
    assert_eq!(gateway.upstream.seen().len(), 1);
    gateway.finish().await;
}
