//! What can't be handled leaves the way with all that is known about it, and nothing else leaves it.

use millrace_messaging::HandlerError;
use millrace_testkit::records::RawRecord;
use millrace_testkit::wait_until;

use crate::harness::{Depot, GROUP, NO_ADDRESS, SOON};

fn wire(event_type: &str, version: u32) -> String {
    let id = uuid::Uuid::now_v7();
    format!(
        r#"{{"id":"{id}","type":"{event_type}","version":{version},"source":"s","timestamp":1,"payload":{{}}}}"#
    )
}

#[tokio::test]
async fn what_is_no_known_event_is_dead_lettered_untouched_and_the_rest_flows() {
    let depot = Depot::open(1).await;
    let topic = depot.topic();
    let garbage = [0xff, 0x00, 0xfe];
    depot.stack.produce(&topic, b"a", Some(&garbage), &[("x-mine", b"kept")]).await;
    depot.stack.produce(&topic, b"b", None, &[]).await;
    depot.stack.produce(&topic, b"c", Some(wire("parcel.sent", 9).as_bytes()), &[]).await;
    depot.stack.produce(&topic, b"d", Some(wire("parcel.weighed", 1).as_bytes()), &[]).await;
    depot.send(&[("p", 1)]).await;
    let member = depot.member(|_| async { Ok(()) });
    wait_until("the event behind them is done", SOON, || async { depot.numbers("p") == [1] }).await;
    wait_until("they are dead", SOON, || async { member.handle.health().dead_lettered == 3 }).await;

    let mut dead = depot.stack.committed_records(&depot.dead_letter_topic()).await;
    assert_eq!(dead.len(), 3, "{dead:?}");
    // Their keys differ, so they may have come in any order.
    dead.sort_by_key(|letter| letter.header("kafka_dlt-original-offset").map(<[u8]>::to_vec));
    assert_eq!(dead[0].payload.as_deref(), Some(&garbage[..]));
    assert_eq!(dead[0].key.as_deref(), Some(&b"a"[..]));
    assert_eq!(dead[0].header("x-mine"), Some(&b"kept"[..]));
    assert_eq!(dead[1].payload, None);
    let codes: Vec<_> =
        dead.iter().filter_map(|d| d.header_text("kafka_dlt-exception-fqcn")).collect();
    assert_eq!(
        codes,
        ["messaging.undecodable", "messaging.undecodable", "messaging.unknown_version"]
    );
    for (offset, letter) in (0..).zip(&dead) {
        assert_origin(&depot, letter, offset);
    }
    assert_eq!(member.handle.health().dead_lettered, 3);
    assert_counted("messaging_records_skipped_total{group=\"depot.sort\",topic=\"parcel-events\"");
    assert_counted("messaging_dead_letters_total{code=\"messaging.unknown_version\"");
    assert_counted("messaging_latency_seconds_count{topic=\"parcel-events\"");
    assert_counted("messaging_messages_sent_total{");
    wait_until("all five are committed", SOON, || async { depot.committed(0).await == Some(5) })
        .await;
    member.leave().await;
}

fn assert_origin(depot: &Depot, letter: &RawRecord, offset: i64) {
    assert_eq!(letter.header_text("kafka_dlt-original-topic"), Some(depot.topic()));
    assert_eq!(letter.header("kafka_dlt-original-partition"), Some(&0_i32.to_be_bytes()[..]));
    assert_eq!(letter.header("kafka_dlt-original-offset"), Some(&offset.to_be_bytes()[..]));
    let group = format!("{GROUP}{}", depot.namespace.group_suffix);
    assert_eq!(letter.header_text("kafka_dlt-original-consumer-group"), Some(group));
    let timestamp = letter.header("kafka_dlt-original-timestamp").unwrap();
    assert_eq!(i64::from_be_bytes(timestamp.try_into().unwrap()), letter.timestamp_ms.unwrap());
}

fn assert_counted(metric: &str) {
    let text = millrace_telemetry::metrics::render();
    let counted = text.lines().any(|line| line.starts_with(metric) && !line.ends_with(" 0"));
    assert!(counted, "{metric} is missing in {text}");
}

#[tokio::test]
async fn a_permanent_failure_is_dead_lettered_alone_and_in_its_place() {
    let depot = Depot::open(1).await;
    let parcels: Vec<(&str, u32)> = (0..10).map(|number| ("p", number)).collect();
    depot.send(&parcels).await;
    let member = depot.member(|seen| async move {
        if seen.iter().any(|record| record.number == 4) {
            return Err(HandlerError::permanent(&NO_ADDRESS, "no address on number 4"));
        }
        Ok(())
    });
    wait_until("the others are done", SOON, || async { depot.done().len() == 9 }).await;
    assert_eq!(depot.numbers("p"), [0, 1, 2, 3, 5, 6, 7, 8, 9]);
    wait_until("it is dead", SOON, || async { member.handle.health().dead_lettered == 1 }).await;
    let dead = depot.stack.committed_records(&depot.dead_letter_topic()).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(
        dead[0].header_text("kafka_dlt-exception-fqcn").as_deref(),
        Some("depot.no_address")
    );
    let message = dead[0].header_text("kafka_dlt-exception-message");
    assert_eq!(message.as_deref(), Some("no address on number 4"));
    assert_eq!(dead[0].header_text("x-reason-class").as_deref(), Some("permanent"));
    assert_eq!(dead[0].header_text("x-retry").as_deref(), Some("1"));
    assert_eq!(dead[0].header_text("ce_type").as_deref(), Some("parcel.sent"));
    member.leave().await;
}

#[tokio::test]
async fn a_redriven_record_keeps_its_first_origin() {
    let depot = Depot::open(1).await;
    let origin: [(&str, &[u8]); 2] =
        [("kafka_dlt-original-topic", b"long-ago"), ("kafka_dlt-exception-fqcn", b"old.code")];
    depot.stack.produce(&depot.topic(), b"k", Some(b"?"), &origin).await;
    let member = depot.member(|_| async { Ok(()) });
    wait_until("it is dead again", SOON, || async { member.handle.health().dead_lettered == 1 })
        .await;
    let dead = depot.stack.committed_records(&depot.dead_letter_topic()).await;
    assert_eq!(dead[0].header_text("kafka_dlt-original-topic").as_deref(), Some("long-ago"));
    assert_eq!(
        dead[0].header_text("kafka_dlt-exception-fqcn").as_deref(),
        Some("messaging.undecodable")
    );
    let codes = dead[0].headers.iter().filter(|(key, _)| key == "kafka_dlt-exception-fqcn").count();
    assert_eq!(codes, 1);
    member.leave().await;
}

#[tokio::test]
async fn a_record_waits_for_its_dead_letter_topic() {
    let stack = millrace_testkit::Stack::shared().await;
    let namespace = stack.namespace();
    let spec = [millrace_testkit::TopicSpec::new("parcel-events", 1)];
    let _topic = stack.topics(&namespace, &spec).await;
    let mut depot = Depot::closed(stack, namespace.clone());
    depot.settings.publish_timeout = std::time::Duration::from_millis(500);
    stack.produce(&depot.topic(), b"k", Some(b"?"), &[]).await;
    depot.send(&[("k", 1), ("p", 1)]).await;
    let member = depot.member(|_| async { Ok(()) });
    wait_until("it waits, and who has another key does not", SOON, || async {
        (member.handle.health().lag, depot.numbers("p")) == (2, vec![1])
    })
    .await;
    assert_eq!(depot.numbers("k"), [0; 0]);
    assert_eq!(depot.committed(0).await.unwrap_or(0), 0);
    let dead =
        [millrace_testkit::TopicSpec::new(crate::harness::TOPIC.dead_letter(GROUP).as_str(), 1)];
    let _dead = stack.topics(&namespace, &dead).await;
    wait_until("the one behind it is done", SOON, || async { depot.numbers("k") == [1] }).await;
    assert_eq!(stack.committed_records(&depot.dead_letter_topic()).await.len(), 1);
    member.leave().await;
}
