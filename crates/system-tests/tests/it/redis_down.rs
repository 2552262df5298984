//! Redis goes away: no order fails, and unpaid ones expire all the same.

use millrace_system_tests::{Start, System};
use millrace_testkit::Stack;

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_orders_flow_and_unpaid_ones_expire() {
    let system = System::start_with(Start {
        stack: Some(Stack::private().await.unwrap()),
        settings: vec![
            ("order", "ORDER__PAY_WITHIN", "1s".to_owned()),
            ("order", "ORDER__EXPIRY_INTERVAL", "1s".to_owned()),
            // How long the service waits for Redis before it dispatches without.
            ("order", "SCHEDULER__LEASE_TTL", "1s".to_owned()),
        ],
        ..Start::default()
    })
    .await;
    system.stock("TEA", 100, 10).await;
    system.stack().redis().stop().await.unwrap();
    let order = system.place(&[("TEA", 1)]).await;
    assert_eq!(system.wait_for(order, "cancelled").await["reason"], "expired");
    let ready = reqwest::get(format!("{}/readyz", system.order.admin_url())).await.unwrap();
    assert_eq!(ready.status(), 200, "readiness doesn't depend on Redis");

    // Back again but empty: tokens go on rising, so its leases are accepted.
    system.stack().redis().start().await.unwrap();
    system.stack().redis().flush().await.unwrap();
    let order = system.place(&[("TEA", 1)]).await;
    assert_eq!(system.wait_for(order, "cancelled").await["reason"], "expired");
    system.assert_ledger().await;
}
