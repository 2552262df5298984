//! Each request becomes one line on `request-logs`.

use millrace_common::envelope::Topic as _;
use millrace_contracts::Topic;
use millrace_testkit::wait_until;

use crate::harness::{PATIENCE, spawn};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_logged_with_its_template_and_caller() {
    let gateway = spawn().await;
    assert_eq!(gateway.get("/api/v1/orders/0190-secret").await.status, 200);
    let topic = gateway.namespace.topic(Topic::RequestLogs.topic_name().as_str());
    let line = wait_until("the line", PATIENCE, || async {
        let records = gateway.stack.records(&topic).await;
        records
            .iter()
            .map(|record| record.json())
            .find(|json| json["payload"]["route"] == "/api/v1/orders/{id}")
    })
    .await;
    assert_eq!(line["type"], "request.logged");
    assert_eq!(line["payload"]["service"], "gateway");
    assert_eq!(line["payload"]["caller"], "ann");
    assert_eq!(line["payload"]["status"], 200);
    assert!(!line.to_string().contains("0190-secret"));
    gateway.finish().await;
}
