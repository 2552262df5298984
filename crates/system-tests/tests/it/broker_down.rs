//! Kafka goes away and comes back.

use millrace_system_tests::{Start, System};
use millrace_testkit::Stack;

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_accepted_without_a_broker_and_flow_when_it_is_back() {
    let stack = Stack::private().await.unwrap();
    let system = System::start_with(Start { stack: Some(stack), ..Start::default() }).await;
    system.stock("TEA", 100, 100).await;
    let before = system.place(&[("TEA", 1)]).await;
    system.wait_for(before, "awaiting_payment").await;
    system.stack().kafka().kill();
    let mut during = Vec::new();
    for _ in 0..10 {
        during.push(system.place(&[("TEA", 1)]).await);
    }
    for service in
        [&system.gateway, &system.order, &system.inventory, &system.audit, &system.log_ingest]
    {
        let ready = reqwest::get(format!("{}/readyz", service.admin_url())).await.unwrap();
        assert_eq!(ready.status(), 200, "{} stays ready without Kafka", service.admin_url());
    }
    assert_eq!(system.api.order(during[0]).await.unwrap().data()["status"], "placed");
    system.stack().kafka().start().await.unwrap();
    for order in during {
        system.wait_for(order, "awaiting_payment").await;
    }
    assert_eq!(system.assert_ledger().await.stock[0].held, 11);
}
