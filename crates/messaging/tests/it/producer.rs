//! What a publisher is told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millrace_envelope::TopicName;
use millrace_messaging::{Producer, ProducerProfile, PublishError, RawOutgoing};
use millrace_resilience::{Class, Classify as _};
use millrace_testkit::{Stack, TopicSpec, wait_until};

use crate::harness::{Depot, SOON, TOPIC, record};

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
    assert!(depot.producer.flush(SOON).await);
}

#[tokio::test]
async fn a_missing_topic_is_a_failure_within_the_time_out() {
    let stack = Stack::shared().await;
    let depot = Depot::closed(stack, stack.namespace());
    let producer = Producer::new(&depot.settings, ProducerProfile::Durable).unwrap();
    let asked = Instant::now();
    let error = producer.publish(&record("p", 1)).await.unwrap_err();
    assert!(matches!(error, PublishError::NotAcknowledged { .. }), "{error:?}");
    assert_eq!(error.class(), Class::Transient);
    // Not the minutes that the library gives a message unasked.
    assert!(asked.elapsed() < depot.settings.publish_timeout + SOON / 2);
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
    // Nothing leaves the queue while it is filled.
    depot.settings.bulk_linger = Duration::from_secs(4);
    depot.settings.publish_timeout = SOON;
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
    (depot.settings.publish_timeout, depot.settings.queue_wait) = (SOON, SOON);
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

#[tokio::test]
async fn a_raw_record_is_published_byte_for_byte() {
    let depot = Depot::open(1).await;
    let raw = RawOutgoing {
        topic: TOPIC,
        key: None,
        payload: Some(b"\xff\x00".to_vec()),
        headers: vec![("h".into(), Some(b"1".to_vec())), ("h".into(), Some(b"\xfe".to_vec()))],
        timestamp_ms: Some(millrace_runtime::Clock::system().now_ms()),
    };
    let mut tombstone = raw.clone();
    (tombstone.key, tombstone.payload) = (Some(b"k".to_vec()), None);
    tombstone.headers = vec![("none".into(), None)];
    assert_eq!(depot.producer.publish_raw(&raw).await.unwrap().offset, 0);
    let positions = depot.producer.publish_raw_all(&[tombstone, raw.clone()]).await;
    assert_eq!(positions.into_iter().map(|p| p.unwrap().offset).collect::<Vec<_>>(), [1, 2]);
    let stored = depot.stack.records(&depot.topic()).await;
    assert_eq!(stored[0].payload, raw.payload);
    assert_eq!(stored[0].timestamp_ms, raw.timestamp_ms);
    let headers = [("h".to_owned(), b"1".to_vec()), ("h".to_owned(), b"\xfe".to_vec())];
    assert_eq!(stored[0].headers, headers);
    assert_eq!((stored[1].key.as_deref(), &stored[1].payload), (Some(&b"k"[..]), &None));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_of_every_call_has_its_fate_told_while_the_broker_is_killed() {
    let stack: &'static Stack = Box::leak(Box::new(Stack::private().await.unwrap()));
    let namespace = stack.namespace();
    let topics = stack.topics(&namespace, &[TopicSpec::new(TOPIC.as_str(), 2)]).await;
    let mut depot = Depot::closed(stack, namespace);
    depot.settings.publish_timeout = Duration::from_secs(1);
    let producer = Producer::new(&depot.settings, ProducerProfile::Durable).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (acknowledged, failed) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..8 {
        let (producer, stop) = (producer.clone(), Arc::clone(&stop));
        let (acknowledged, failed) = (Arc::clone(&acknowledged), Arc::clone(&failed));
        callers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let records: Vec<_> =
                    (0..20).map(|number| record(&format!("p{caller}"), number)).collect();
                let fates = producer.publish_all(&records).await;
                for (record, fate) in records.into_iter().zip(fates) {
                    match fate {
                        Ok(at) => {
                            let at = (at.partition, at.offset);
                            acknowledged.lock().unwrap().push((at, record.payload.unwrap()));
                        }
                        Err(error) => {
                            assert_eq!(error.class(), Class::Transient, "{error:?}");
                            failed.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            }
        });
    }
    let told = || acknowledged.lock().unwrap().len();
    wait_until("some are acknowledged", SOON, || async { told() > 500 }).await;
    stack.kafka().kill();
    wait_until("each caller was told", SOON, || async { failed.load(Ordering::Relaxed) >= 160 })
        .await;
    stack.kafka().start().await.unwrap();
    let before = told();
    wait_until("it goes on", SOON, || async { told() > before + 500 }).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    let stored: HashMap<_, _> = stack
        .records(&depot.topic())
        .await
        .into_iter()
        .map(|record| ((record.partition, record.offset), record.payload.unwrap()))
        .collect();
    for (at, payload) in acknowledged.lock().unwrap().iter() {
        assert_eq!(stored.get(at), Some(payload), "what was acknowledged lies where it was told");
    }
    drop(topics);
}
