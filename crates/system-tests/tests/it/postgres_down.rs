//! PostgreSQL goes away: an honest 503, and recovery without a restart.

use millrace_system_tests::{Start, System};
use millrace_testkit::Stack;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_requests_get_503_and_services_recover_by_themselves() {
    let stack = Stack::private().await.unwrap();
    let settings = vec![("order", "DATABASE__ACQUIRE_TIMEOUT", "1s".to_owned())];
    let system =
        System::start_with(Start { stack: Some(stack), settings, ..Start::default() }).await;
    system.stock("TEA", 100, 100).await;
    let before = system.place(&[("TEA", 1)]).await;
    system.stack().postgres().stop().await.unwrap();
    let refused = system.api.place(&Uuid::now_v7().to_string(), &[("TEA", 1)]).await.unwrap();
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
    let not_ready = reqwest::get(format!("{}/readyz", system.order.admin_url())).await.unwrap();
    assert_eq!(not_ready.status(), 503);
    let live = reqwest::get(format!("{}/livez", system.order.admin_url())).await.unwrap();
    assert_eq!(live.status(), 200, "a restart would not help");

    system.stack().postgres().start().await.unwrap();
    let after = system.place_stubbornly(&[("TEA", 1)]).await;
    for order in [before, after] {
        system.wait_for(order, "awaiting_payment").await;
    }
    assert_eq!(system.assert_ledger().await.stock[0].held, 2);
}
