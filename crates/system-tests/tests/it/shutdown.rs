//! A stop under load finishes what is in flight.

use futures::future::join_all;
use millrace_system_tests::{Start, System};
use millrace_testkit::tokens;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn stopping_under_load_finishes_requests_in_flight_and_exits_with_0() {
    let system = System::start_with(Start { two_order_instances: true, ..Start::default() }).await;
    system.stock("TEA", 100, 1000).await;
    // Straight to the service, so that an answer is its own and not the gateway's.
    let direct = system.api.at(system.order.url()).with_token(tokens::customer_token("customer-1"));
    let keys: Vec<String> = (0..60).map(|_| Uuid::now_v7().to_string()).collect();
    let lines: &[(&str, u32)] = &[("TEA", 1)];
    let requests = join_all(keys.iter().map(|key| direct.place(key, lines)));
    let (replies, ()) = tokio::join!(requests, system.order.ask_to_stop());
    let answered = replies.iter().flatten().count();
    for reply in replies.iter().flatten() {
        assert_eq!(reply.status, 202, "in flight means finished: {}", reply.body);
    }
    assert_eq!(system.order.wait_exit().await, Some(0));
    // The other instance relays what the stopped one accepted.
    let ledger = system.assert_ledger().await;
    assert!(ledger.accepted() >= answered as i64, "{answered} answered: {ledger}");
    for service in [&system.gateway, &system.inventory, &system.audit, &system.log_ingest] {
        assert_eq!(service.stop().await, Some(0));
    }
}
