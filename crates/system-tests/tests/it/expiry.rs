//! Two instances of the order service expire orders, and each order expires once.

use millrace_system_tests::{Start, System};

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_expire_each_order_once() {
    let system = System::start_with(Start {
        two_order_instances: true,
        settings: vec![
            ("order", "ORDER__PAY_WITHIN", "300ms".to_owned()),
            ("order", "ORDER__EXPIRY_INTERVAL", "1s".to_owned()),
        ],
        ..Start::default()
    })
    .await;
    system.stock("TEA", 100, 100).await;
    let mut orders = Vec::new();
    for _ in 0..20 {
        orders.push(system.place(&[("TEA", 1)]).await);
    }
    for order in orders {
        assert_eq!(system.wait_for(order, "cancelled").await["reason"], "expired");
    }
    // One audit record and one released reservation for each: the ledger counts them.
    let ledger = system.assert_ledger().await;
    assert_eq!(ledger.audit_found["order.expire"], 20, "{ledger}");
    assert_eq!(ledger.stock[0].free, 100, "{ledger}");
}
