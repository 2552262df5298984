//! One trace from the client through the gateway to the upstream.

use millrace_testkit::tokens::admin_token;
use reqwest::Method;

use crate::harness::{COLLECTOR, PATIENCE, send, spawn};
use crate::upstream::status;

const TRACE: &str = "5bd9f3c1a2b44e0f9c8d7e6f5a4b3c2d";

#[tokio::test(flavor = "multi_thread")]
async fn the_upstreams_parent_is_the_gateways_client_span() {
    let gateway = spawn().await;
    gateway.upstream.answers(status(404, "{}"));
    let request = gateway
        .anonymous(Method::GET, "/api/v1/products/tea")
        .bearer_auth(admin_token())
        .header("traceparent", format!("00-{TRACE}-00000000000000aa-01"))
        .header("tracestate", "shop=1")
        .header("baggage", "cart=7");
    assert_eq!(send(request).await.status, 404);

    let spans = COLLECTOR
        .wait_for_trace(TRACE, PATIENCE, |spans| {
            spans.iter().any(|it| it.kind == "server") && spans.iter().any(|it| it.kind == "client")
        })
        .await;
    let find = |kind: &str| spans.iter().find(|it| it.kind == kind).unwrap();
    let (server, client) = (find("server"), find("client"));
    assert_eq!(server.parent_span_id, "00000000000000aa");
    assert_eq!(client.parent_span_id, server.span_id);
    assert_eq!(client.name, "GET /api/v1/products/{sku}");
    assert_eq!(client.attribute("http.response.status_code"), Some("404"));
    assert_eq!(client.attribute("error.type"), Some("404"));
    assert_eq!(client.attribute("peer.service"), Some("inventory"));

    let seen = gateway.upstream.last();
    let parent = format!("00-{TRACE}-{}-01", client.span_id);
    let given: Vec<&str> = seen
        .headers
        .iter()
        .filter(|(name, _)| name == "traceparent")
        .map(|(_, value)| value.as_str())
        .collect();
    assert_eq!(given, [parent.as_str()], "replaced, not appended");
    assert_eq!(seen.header("tracestate"), Some("shop=1"));
    assert_eq!(seen.header("baggage"), Some("cart=7"));
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_trace_begins_one() {
    let gateway = spawn().await;
    assert_eq!(gateway.get("/api/v1/orders").await.status, 200);
    let parent = gateway.upstream.last().header("traceparent").unwrap().to_owned();
    assert_eq!(parent.split('-').nth(1).unwrap().len(), 32);
    gateway.finish().await;
}
