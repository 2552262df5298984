//! Probes, health and metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millrace_http::Component;
use serde_json::json;

use crate::harness::{App, answer};

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_what_requests_need_and_nothing_else() {
    let app = App::start();
    let database = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&database);
    app.health.require("db", move || {
        let up = seen.load(Ordering::Relaxed);
        async move { if up { Component::up() } else { Component::down("connection refused") } }
    });
    app.health.register("kafkaConsumer", || async { Component::down("no broker").with("lag", 7) });
    app.health.register("redis", || async {
        std::future::pending::<()>().await;
        Component::up()
    });
    for request in
        [app.get("/readyz"), app.admin("/readyz"), app.get("/livez"), app.admin("/livez")]
    {
        assert_eq!(answer(request).await.0, 200);
    }
    let (status, report) = answer(app.admin("/actuator/health")).await;
    assert_eq!((status, report["status"].as_str()), (503, Some("DOWN")));
    assert_eq!(report["components"]["db"], json!({ "status": "UP" }));
    assert_eq!(report["components"]["kafkaConsumer"]["details"]["lag"], 7);
    assert_eq!(report["components"]["redis"]["status"], "DOWN");

    database.store(false, Ordering::Relaxed);
    for request in [app.get("/readyz"), app.admin("/readyz")] {
        let (status, reply) = answer(request).await;
        assert_eq!(status, 503);
        assert!(reply["message"].as_str().unwrap().contains("db"), "{reply}");
    }
    assert_eq!(answer(app.get("/livez")).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_up_unknown_or_down_and_only_down_is_503() {
    let app = App::start();
    let (status, report) = answer(app.admin("/actuator/health")).await;
    assert_eq!((status, report["status"].as_str()), (200, Some("UP")));
    app.health.register("kafkaConsumer", || async { Component::unknown("no partitions yet") });
    let (status, report) = answer(app.admin("/actuator/health")).await;
    assert_eq!((status, report["status"].as_str()), (200, Some("UNKNOWN")));
}

#[tokio::test(flavor = "multi_thread")]
async fn liveness_fails_when_a_restart_would_help() {
    let app = App::start();
    app.health.liveness(|| Err("consumer stalled".to_owned()));
    let (status, reply) = answer(app.admin("/livez")).await;
    assert_eq!(status, 503);
    assert_eq!(reply["message"], "consumer stalled");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_on_the_admin_port_only() {
    let app = App::start();
    for path in ["/actuator/health", "/metrics"] {
        assert_eq!(answer(app.get(path)).await.0, 404, "{path}");
    }
    assert_eq!(answer(app.admin("/nowhere")).await.1["code"], "http.not_found");
    app.get("/baskets/7").send().await.unwrap();
    app.get("/made/up/by/a/scanner").send().await.unwrap();
    let metrics = app.admin("/metrics").send().await.unwrap().text().await.unwrap();
    for expected in [
        r#"http_server_request_duration_seconds_count{method="GET",route="/baskets/{id}",status="200""#,
        r#"http_server_request_duration_seconds_count{method="GET",route="unmatched",status="404""#,
        "process_resident_memory_bytes{",
        r#"service="http-test""#,
    ] {
        assert!(metrics.contains(expected), "{expected} is missing in\n{metrics}");
    }
}
