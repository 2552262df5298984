//! The server span and what hangs on it.

use std::time::Duration;

use crate::harness::{App, COLLECTOR, answer, lines_of, new_trace};

#[tokio::test(flavor = "multi_thread")]
async fn the_server_span_continues_the_callers_trace_under_the_templates_name() {
    let app = App::start();
    let (traceparent, trace_id) = new_trace();
    assert_eq!(answer(app.get("/baskets/7").header("traceparent", &traceparent)).await.0, 200);
    let spans = COLLECTOR
        .wait_for_trace(&trace_id, Duration::from_secs(5), |spans| !spans.is_empty())
        .await;
    let span = &spans[0];
    assert_eq!(span.name, "GET /baskets/{id}");
    assert_eq!(span.kind, "server");
    assert_eq!(span.parent_span_id, "00000000000000aa");
    assert_eq!(span.attribute("http.route"), Some("/baskets/{id}"));
    assert_eq!(span.attribute("http.request.method"), Some("GET"));
    assert_eq!(span.attribute("http.response.status_code"), Some("200"));
    assert_eq!(span.attribute("url.path"), Some("/baskets/7"));
    assert!(!span.error);
    let line = &lines_of(&trace_id)[0];
    assert_eq!(line["parent_id"], "00000000000000aa");
    assert_eq!(line["span_id"], span.span_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_marks_the_span_and_the_record() {
    let app = App::start();
    let (traceparent, trace_id) = new_trace();
    assert_eq!(answer(app.get("/fails").header("traceparent", &traceparent)).await.0, 500);
    let spans = COLLECTOR
        .wait_for_trace(&trace_id, Duration::from_secs(5), |spans| !spans.is_empty())
        .await;
    assert!(spans[0].error);
    let records = app.records.all();
    let record =
        records.iter().find(|record| record.trace_id.as_deref() == Some(&trace_id)).unwrap();
    assert_eq!((record.status, record.level, record.method), (500, "ERROR", "GET"));
    assert_eq!(record.route, "/fails");
    assert!(record.latency_us > 0 && record.at_ms > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_leave_no_record() {
    let app = App::start();
    assert_eq!(answer(app.get("/livez")).await.0, 200);
    assert_eq!(answer(app.get("/nowhere")).await.0, 404);
    let records = app.records.all();
    let routes: Vec<_> =
        records.iter().map(|record| (record.route.as_str(), record.status)).collect();
    assert_eq!(routes, [("unmatched", 404)]);
}
