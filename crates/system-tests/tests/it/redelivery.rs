//! Every event of a whole order delivered again, in another order, changes nothing.

use millrace_common::envelope::Topic as _;
use millrace_contracts::Topic;
use millrace_system_tests::{PATIENCE, System};
use millrace_testkit::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn all_events_delivered_again_and_backwards_have_no_second_effect() {
    let system = System::start().await;
    system.stock("TEA", 100, 10).await;
    let paid = system.place(&[("TEA", 2)]).await;
    system.wait_for(paid, "awaiting_payment").await;
    system.pay(paid).await;
    system.wait_for(paid, "confirmed").await;
    let cancelled = system.place(&[("TEA", 3)]).await;
    system.wait_for(cancelled, "awaiting_payment").await;
    system.api.cancel(cancelled).await.unwrap();
    let before = system.assert_ledger().await;

    let mut repeated = 0;
    for topic in Topic::ALL {
        let topic = system.namespace.topic(topic.topic_name().as_str());
        for record in system.stack().records(&topic).await.into_iter().rev() {
            let headers: Vec<(&str, &[u8])> = record
                .headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_slice()))
                .collect();
            let key = record.key.as_deref().unwrap_or_default();
            system.stack().produce(&topic, key, record.payload.as_deref(), &headers).await;
            repeated += 1;
        }
    }
    assert!(repeated > 15, "the flow left {repeated} events to repeat");
    // A marker behind the repeats: when it has gone through, so have they.
    let marker = system.place(&[("TEA", 1)]).await;
    system.wait_for(marker, "awaiting_payment").await;
    wait_until("all consumers are through", PATIENCE, || async {
        for service in [&system.order, &system.inventory, &system.audit] {
            let health = reqwest::get(format!("{}/actuator/health", service.admin_url())).await;
            let health: serde_json::Value =
                health.map_err(|e| e.to_string())?.json().await.map_err(|e| e.to_string())?;
            if health["components"]["kafkaConsumer"]["details"]["lag"] != 0 {
                return Err(health.to_string());
            }
        }
        Ok(())
    })
    .await;
    let after = system.assert_ledger().await;
    assert_eq!(after.accepted(), before.accepted() + 1);
    assert_eq!(after.stock[0].sold, before.stock[0].sold, "{after}");
    assert_eq!(after.stock[0].held, before.stock[0].held + 1, "{after}");
    assert_eq!(after.stock[0].free, before.stock[0].free - 1, "{after}");
}
