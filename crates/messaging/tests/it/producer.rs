//! What a publisher is told.

use std::time::{Duration, Instant};

use millrace_envelope::TopicName;
use millrace_messaging::{Producer, ProducerProfile, PublishError};
use millrace_resilience::{Class, Classify as _};
use millrace_testkit::{Stack, TopicSpec};

use crate::harness::{Depot, record};

#[tokio::test]
async fn messages_land_in_order_and_their_positions_are_told() {
    let depot = Depot::open(2).await;
    let records: Vec<_> = (0..100).map(|number| record("p", number)).collect();
    let positions = depot.producer.publish_all(&records).await;
    let offsets: Vec<i64> =
        positions.iter().map(|position| position.as_ref().unwrap().offset).collect();
    assert_eq!(offsets, (0..100).collect::<Vec<i64>>());
    let stored = depot.stack.records(&depot.topic()).await;
    assert_eq!(stored.len(), 100);
    for (record, stored) in records.iter().zip(&stored) {
        assert_eq!(stored.payload, record.payload);
        assert_eq!(stored.headers, record.headers);
        assert_eq!(stored.timestamp_ms, record.timestamp_ms);
    }
    assert!(depot.producer.flush(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_missing_topic_is_a_failure_within_the_time_out() {
    let stack = Stack::shared().await;
    let depot = Depot::closed(stack, stack.namespace());
    let asked = Instant::now();
    let error = depot.producer.publish(&record("p", 1)).await.unwrap_err();
    assert!(matches!(error, PublishError::NotAcknowledged { .. }), "{error:?}");
    assert_eq!(error.class(), Class::Transient);
    assert!(asked.elapsed() < depot.settings.publish_timeout + Duration::from_secs(2));
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_here_or_by_the_broker() {
    let stack = Stack::shared().await;
    let namespace = stack.namespace();
    let small = TopicSpec::new("small", 1).with("max.message.bytes", "2000");
    let _topics = stack.topics(&namespace, &[small]).await;
    let depot = Depot::closed(stack, namespace);
    let mut large = record("p", 1);
    large.topic = TopicName::from_static("small");
    large.payload = Some(vec![b'x'; 4000]);
    let error = depot.producer.publish(&large).await.unwrap_err();
    assert!(matches!(error, PublishError::TooLarge { .. }), "{error:?}");
    assert_eq!(error.class(), Class::Permanent);
    large.payload = Some(vec![b'x'; 2 * 1024 * 1024]);
    let error = depot.producer.publish(&large).await.unwrap_err();
    assert!(matches!(error, PublishError::TooLarge { bytes: 2_097_152.., .. }), "{error:?}");
    large.payload = Some(vec![b'x'; 100]);
    depot.producer.publish(&large).await.unwrap();
}

#[tokio::test]
async fn a_bulk_producer_with_a_full_queue_says_so_at_once() {
    let mut depot = Depot::open(1).await;
    depot.settings.queue_records_max = 10;
    depot.settings.bulk_linger = Duration::from_secs(1);
    let bulk = Producer::new(&depot.settings, ProducerProfile::Bulk).unwrap();
    let records: Vec<_> = (0..50).map(|number| record("p", number)).collect();
    let results = bulk.publish_all(&records).await;
    let refused =
        results.iter().filter(|result| matches!(result, Err(PublishError::QueueFull))).count();
    assert_eq!(refused, 40);
    assert_eq!(depot.stack.records(&depot.topic()).await.len(), 10);
}

#[tokio::test]
async fn a_durable_producer_with_a_full_queue_waits_for_room() {
    let mut depot = Depot::open(1).await;
    depot.settings.queue_records_max = 10;
    let durable = Producer::new(&depot.settings, ProducerProfile::Durable).unwrap();
    let records: Vec<_> = (0..200).map(|number| record("p", number)).collect();
    let results = durable.publish_all(&records).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
}

#[tokio::test]
async fn clients_for_every_kind_of_security_can_be_built() {
    let stack = Stack::shared().await;
    let plain = Depot::closed(stack, stack.namespace()).settings;
    let mechanisms = ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN", "OAUTHBEARER"];
    for mechanism in mechanisms {
        let mut settings = plain.clone();
        settings.security_protocol = "SASL_SSL".into();
        settings.sasl_mechanism = mechanism.into();
        settings.sasl_username = "order".into();
        settings.sasl_password = millrace_runtime::settings::Secret::new("secret");
        settings.oauth_token_file = "/does/not/exist".into();
        Producer::new(&settings, ProducerProfile::Durable).unwrap();
        millrace_messaging::admin::TopicAdmin::new(&settings).unwrap();
    }
}
