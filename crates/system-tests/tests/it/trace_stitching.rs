//! One trace id over every hop.

use std::collections::BTreeSet;

use millrace_system_tests::{PATIENCE, System};
use millrace_testkit::otlp::SpanRecord;
use millrace_testkit::wait_until;
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_id_follows_an_order_over_http_outbox_kafka_sql_audit_and_logs() {
    let system = System::start().await;
    system.stock("TEA", 100, 10).await;
    let request = system
        .api
        .request(Method::POST, "/api/v1/orders")
        .header("Idempotency-Key", Uuid::now_v7().to_string())
        .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"))
        .json(&json!({"lines": [{"sku": "TEA", "quantity": 1}]}));
    let order = system.api.send(request).await.unwrap().order_id();
    system.wait_for(order, "awaiting_payment").await;

    let spans = system.spans.wait_for_trace(TRACE, PATIENCE, |spans| {
        let has = |service: &str, kind: &str| {
            spans.iter().any(|span| span.service == service && span.kind == kind)
        };
        has("gateway", "server")
            && has("gateway", "client")
            && has("order", "server")
            && has("order", "producer")
            && has("order", "consumer")
            && has("inventory", "consumer")
            && has("inventory", "producer")
            && has("inventory", "client")
            && has("audit", "consumer")
            && orphans(spans) == 0
    });
    spans.await;

    let path = format!("/api/v1/audit/records?trace_id={TRACE}");
    wait_until("audit records with the trace", PATIENCE, || async {
        let reply = system.admin.get(&path).await.map_err(|error| format!("{error:#}"))?;
        let records = reply.data()["records"].as_array().cloned().unwrap_or_default();
        let services: BTreeSet<_> =
            records.iter().filter_map(|record| record["service"].as_str()).collect();
        if services == ["inventory", "order"].into() { Ok(()) } else { Err(reply.body.to_string()) }
    })
    .await;
    for service in [&system.gateway, &system.order] {
        assert!(service.output().await.contains(TRACE), "the trace id is in the log");
    }
    let path = format!("/api/v1/logs?trace_id={TRACE}");
    wait_until("request logs with the trace", PATIENCE, || async {
        let reply = system.admin.get(&path).await.map_err(|error| format!("{error:#}"))?;
        let lines = reply.data()["lines"].as_array().map(Vec::len).unwrap_or_default();
        if lines >= 2 { Ok(()) } else { Err(reply.body.to_string()) }
    })
    .await;
}

/// How many have a parent that is not among them; only the caller's span, which is not ours, may be missing. A parent
/// ends after its children, and may come in a later batch.
fn orphans(spans: &[SpanRecord]) -> usize {
    let known: BTreeSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    spans
        .iter()
        .filter(|span| !known.contains(span.parent_span_id.as_str()))
        .filter(|span| span.parent_span_id != "b7ad6b7169203331")
        .count()
}
