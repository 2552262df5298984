//! Each service is killed as by a power cut while orders flow; nothing is lost and nothing happens twice.

use futures::future::join_all;
use millrace_system_tests::{Service, Start, System};
use uuid::Uuid;

/// Orders under way when the kill comes, and as many behind it.
const ORDERS: usize = 30;

#[tokio::test(flavor = "multi_thread")]
async fn killing_inventory_mid_flow_loses_and_doubles_nothing() {
    survives(|system| &system.inventory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_order_service_and_its_relay_mid_flow_loses_and_doubles_nothing() {
    survives(|system| &system.order).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_audit_mid_flow_loses_and_doubles_no_record() {
    survives(|system| &system.audit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_gateway_and_log_ingest_mid_flow_loses_and_doubles_nothing() {
    survives(|system| &system.gateway).await;
}

/// Orders are placed by a client that repeats an unanswered request under the same key, as the docs tell it to.
async fn survives(victim: impl Fn(&System) -> &Service) {
    let system = System::start_with(Start::default()).await;
    system.stock("TEA", 100, 1000).await;
    let before = join_all((0..ORDERS).map(|_| system.place_stubbornly(&[("TEA", 1)]))).await;
    victim(&system).kill_9().await;
    system.log_ingest.kill_9().await;
    let during = join_all((0..ORDERS).map(|_| system.place_stubbornly(&[("TEA", 1)])));
    let restart = async {
        victim(&system).start().await;
        system.log_ingest.start().await;
    };
    let (during, ()) = tokio::join!(during, restart);
    let mut orders: Vec<Uuid> = before.into_iter().chain(during).collect();
    orders.sort_unstable();
    orders.dedup();
    assert_eq!(orders.len(), 2 * ORDERS, "one order for each key");
    let ledger = system.assert_ledger().await;
    assert_eq!(ledger.accepted(), 2 * ORDERS as i64, "no order without a request: {ledger}");
    assert_eq!(ledger.stock[0].held, 2 * ORDERS as i64, "{ledger}");
}
