//! Request logs reach the search, and their accounting adds up.

use millrace_system_tests::{PATIENCE, System};
use millrace_testkit::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn every_request_can_be_searched_by_service_status_and_level() {
    let system = System::start().await;
    let unknown =
        system.api.get("/api/v1/orders/00000000-0000-7000-8000-000000000000").await.unwrap();
    assert_eq!(unknown.status, 404);
    for query in
        ["service=order&status=404", "service=gateway&level=WARN", "service=gateway&status=4xx"]
    {
        wait_until(&format!("a line for {query}"), PATIENCE, || async {
            let reply = system.admin.get(&format!("/api/v1/logs?{query}")).await;
            let reply = reply.map_err(|error| format!("{error:#}"))?;
            let lines = reply.data()["lines"].as_array().map(Vec::len).unwrap_or_default();
            if lines > 0 { Ok(()) } else { Err(reply.body.to_string()) }
        })
        .await;
    }
    let customer = system.api.get("/api/v1/logs").await.unwrap();
    assert_eq!(customer.status, 403, "{}", customer.body);
}
