//! What may befall a topic, and what no client library would write to it.

use millrace_testkit::{RawOutgoing, Stack, TestTopics, TopicSpec};

async fn one(spec: TopicSpec) -> (&'static Stack, TestTopics, String) {
    let stack = Stack::shared().await;
    let topics = stack.topics(&stack.namespace(), &[spec]).await;
    let name = topics.names()[0].clone();
    (stack, topics, name)
}

#[tokio::test]
async fn a_topic_is_deleted_and_made_again_empty() {
    let (stack, topics, name) = one(TopicSpec::new("again", 1)).await;
    stack.produce(&name, b"k", Some(b"1"), &[]).await;
    topics.delete(&name).await;
    assert!(stack.access().partitions(&name).await.is_err());
    topics.create_again(&name).await;
    assert!(stack.records(&name).await.is_empty());
    let (_, offset) = stack.produce(&name, b"k", Some(b"2"), &[]).await;
    assert_eq!(offset, 0, "its offsets start anew");
}

#[tokio::test]
async fn partitions_are_added_and_the_front_is_cut_off() {
    let (stack, topics, name) = one(TopicSpec::new("grows", 1)).await;
    for value in [b"0", b"1", b"2"] {
        stack.produce(&name, b"k", Some(value), &[]).await;
    }
    topics.truncate(&name, 0, 2).await;
    assert_eq!(stack.access().log_start(&name, 0).await.unwrap(), 2);
    assert_eq!(stack.access().log_end(&name, 0).await.unwrap(), 3);
    let left: Vec<i64> = stack.records(&name).await.iter().map(|record| record.offset).collect();
    assert_eq!(left, [2]);
    topics.grow(&name, 3).await;
    assert_eq!(stack.access().partitions(&name).await.unwrap().len(), 3);
}

#[tokio::test]
async fn compaction_leaves_holes() {
    let (stack, _topics, name) = one(TopicSpec::new("holes", 1).compacted_soon()).await;
    let access = stack.access();
    access.write_superseded(&name, 0, b"k", &[b"0", b"1", b"2", b"3"]).await;
    let offsets: Vec<i64> = stack.records(&name).await.iter().map(|record| record.offset).collect();
    assert!(!offsets.contains(&0) && offsets.contains(&3), "{offsets:?}");
    let seen: Vec<i64> = access.log(&name, 0).await.iter().map(|entry| entry.offset).collect();
    assert_eq!(seen, offsets);
}

#[tokio::test]
async fn markers_and_aborted_records_lie_in_the_log() {
    let (stack, _topics, name) = one(TopicSpec::new("transactions", 1)).await;
    let access = stack.access();
    access.write_committed(&name, &[(b"k", b"0"), (b"k", b"1")]).await;
    access.write_aborted(&name, &[(b"k", b"lost")]).await;
    let open = access.write_open(&name, &[(b"k", b"waits")]).await;
    stack.produce(&name, b"k", Some(b"behind"), &[]).await;
    open.commit().await;
    let log = access.log(&name, 0).await;
    let seen: Vec<(i64, bool, bool)> =
        log.iter().map(|entry| (entry.offset, entry.control, entry.aborted)).collect();
    let marker = |offset| (offset, true, false);
    let record = |offset| (offset, false, false);
    let expected = [
        record(0),
        record(1),
        marker(2),
        (3, false, true),
        marker(4),
        record(5),
        record(6),
        marker(7),
    ];
    assert_eq!(seen, expected, "{log:?}");
    assert!(!log[6].transactional);
    assert_eq!(stack.records(&name).await.len(), 5, "the markers are no records");
}

#[tokio::test]
async fn a_record_may_be_anything() {
    let (stack, _topics, name) = one(TopicSpec::new("garbage", 1)).await;
    let record = RawOutgoing {
        key: None,
        payload: None,
        headers: vec![
            (vec![0xff, 0xfe], Some(vec![1])),
            (b"null".to_vec(), None),
            (b"large".to_vec(), Some(vec![7; 900 * 1024])),
        ],
        timestamp_ms: 1,
    };
    let offset = stack.access().write_raw(&name, 0, std::slice::from_ref(&record)).await;
    assert_eq!(offset, 0);
    let log = stack.access().log(&name, 0).await;
    assert_eq!((log.len(), &log[0].headers), (1, &record.headers));
    assert_eq!((&log[0].key, &log[0].payload), (&None, &None));
}
