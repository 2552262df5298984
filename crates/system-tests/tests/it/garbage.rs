//! Undecodable bytes on any topic end in the dead-letter topic of each group that reads it, and nothing stops.

use millrace_common::envelope::Topic as _;
use millrace_contracts::groups;
use millrace_system_tests::{PATIENCE, System};
use millrace_testkit::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_every_topic_is_dead_lettered_and_orders_still_flow() {
    let system = System::start().await;
    system.stock("TEA", 100, 10).await;
    let garbage: &[u8] = b"\x00\xff{not json";
    for (_, topic) in groups::ALL {
        let topic = system.namespace.topic(topic.topic_name().as_str());
        system.stack().produce(&topic, b"key", Some(garbage), &[]).await;
    }
    for (group, topic) in groups::ALL {
        let dead_letters = system.namespace.topic(topic.topic_name().dead_letter(*group).as_str());
        let record = wait_until(&format!("a record on {dead_letters}"), PATIENCE, || async {
            system.stack().records(&dead_letters).await.into_iter().next()
        })
        .await;
        assert_eq!(record.payload.as_deref(), Some(garbage), "raw bytes, untouched");
        assert!(record.header("kafka_dlt-original-topic").is_some(), "{record:?}");
    }
    let order = system.place(&[("TEA", 1)]).await;
    system.wait_for(order, "awaiting_payment").await;
}
