//! Topics live for one test, and raw records keep their bytes.

use std::time::Duration;

use millrace_testkit::{Stack, TopicSpec, wait_until};

#[tokio::test]
async fn a_record_comes_back_with_its_bytes_and_headers() {
    let stack = Stack::shared().await;
    let namespace = stack.namespace();
    let topics = stack.topics(&namespace, &[TopicSpec::new("order-events", 2)]).await;
    let topic = &topics.names()[0];
    assert_eq!(*topic, format!("{}order-events", namespace.topic_prefix));

    assert!(stack.records(topic).await.is_empty());
    let broken = [0xff, 0x00, 0xfe];
    let headers: [(&str, &[u8]); 2] = [("attempt", &[0, 0, 0, 1]), ("why", b"test")];
    stack.produce(topic, b"key", Some(&broken), &headers).await;
    stack.produce(topic, b"key", None, &[]).await;

    let records = stack.records(topic).await;
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].payload.as_deref(), Some(&broken[..]));
    assert_eq!(records[0].header("attempt"), Some(&[0, 0, 0, 1][..]));
    assert_eq!(records[0].header_text("why").as_deref(), Some("test"));
    assert_eq!(records[1].payload, None);
    assert_eq!(records[0].partition, records[1].partition, "one key, one partition");
}

#[tokio::test]
async fn dropped_topics_are_deleted() {
    let stack = Stack::shared().await;
    let topics = stack.topics(&stack.namespace(), &[TopicSpec::new("gone", 1)]).await;
    let name = topics.names()[0].clone();
    let port = stack.addresses().kafka_port;
    drop(topics);
    wait_until("the topic is gone", Duration::from_secs(10), || {
        let name = name.clone();
        async move { !names_on(port).await.contains(&name) }
    })
    .await;
}

async fn names_on(port: u16) -> Vec<String> {
    use rdkafka::consumer::Consumer as _;
    tokio::task::spawn_blocking(move || {
        let client: rdkafka::consumer::BaseConsumer =
            millrace_testkit::kafka::client(port).create().unwrap();
        let metadata = client.fetch_metadata(None, Duration::from_secs(5)).unwrap();
        metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
    })
    .await
    .unwrap()
}
