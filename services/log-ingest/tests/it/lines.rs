//! From the topic to the table.

use millrace_common::envelope::Envelope;
use millrace_common::request_log::RequestLogEvent;
use millrace_common::telemetry::metrics;
use millrace_testkit::wait_until;

use crate::harness::{PATIENCE, envelope, spawn_app};

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_found_again_whatever_its_texts_hold() {
    let app = spawn_app().await;
    let weird = "/tab\t nl\n cr\r back\\slash \\N \\. \\x41 'quote' \"double\" \u{7f}\u{1}\u{1f980} e\u{301} \u{feff}";
    let sent = envelope(|logged| {
        logged.route = weird.into();
        logged.caller = Some("\\N".into());
        logged.method = String::new();
        logged.trace_id = None;
        logged.latency_us = u64::MAX;
    });
    app.publish(&sent).await;
    app.wait_stored(sent.id).await;
    let answer = app.search("service=order&level=INFO&status=202").await;
    let found = &answer.body["data"]["lines"][0];
    assert_eq!(found["id"], sent.id.to_string());
    assert_eq!(found["route"], weird);
    assert_eq!(found["caller"], "\\N");
    assert_eq!(found["method"], "");
    assert_eq!(found["trace_id"], serde_json::Value::Null);
    assert_eq!(found["latency_us"], i64::MAX);
    assert_eq!(found["occurred_at"], sent.timestamp);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_delivered_again_is_stored_once() {
    let app = spawn_app().await;
    let (repeated, last) = (envelope(|_| {}), envelope(|_| {}));
    for sent in [&repeated, &repeated, &last] {
        app.publish(sent).await;
    }
    app.wait_stored(repeated.id).await;
    app.wait_stored(last.id).await;
    assert_eq!(app.stored(repeated.id).await, 1);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_no_column_can_hold_is_dropped_and_its_neighbours_are_stored() {
    let app = spawn_app().await;
    let dropped = metrics::counter_vec("log_ingest_records_dropped_total", "", &["reason"]);
    let dropped_before = dropped.with_label_values(&["malformed"]).get();
    let (before, after) = (envelope(|_| {}), envelope(|_| {}));
    let bad = [
        envelope(|logged| logged.route = "/a\0b".into()),
        envelope(|logged| logged.caller = Some("\0".into())),
        envelope(|logged| logged.route = "x".repeat(10_000)),
        envelope(|logged| logged.level = "LOUD".into()),
    ];
    app.publish(&before).await;
    for sent in &bad {
        app.publish(sent).await;
    }
    app.publish(&after).await;
    app.wait_stored(before.id).await;
    app.wait_stored(after.id).await;
    for sent in &bad {
        assert_eq!(app.stored(sent.id).await, 0);
    }
    wait_until("drops counted", PATIENCE, || async {
        dropped.with_label_values(&["malformed"]).get() >= dropped_before + 4
    })
    .await;
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_line_are_dead_lettered_untouched() {
    let app = spawn_app().await;
    let after = envelope(|_| {});
    app.publish_raw(b"order", b"\x00\xff not a line").await;
    let newer = after.to_text().unwrap().replace("\"version\":1", "\"version\":2");
    app.publish_raw(b"order", newer.as_bytes()).await;
    app.publish(&after).await;
    app.wait_stored(after.id).await;
    let letters = wait_until("dead letters", PATIENCE, || async {
        let letters = app.dead_letters().await;
        if letters.len() == 2 { Ok(letters) } else { Err(letters.len()) }
    })
    .await;
    assert_eq!(letters[0].payload.as_deref(), Some(b"\x00\xff not a line".as_slice()));
    app.finish(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_add_up_over_stored_repeated_and_dropped_lines() {
    let app = spawn_app().await;
    let before = Accounts::read();
    let mut sent: Vec<Envelope<RequestLogEvent>> =
        (0..300).map(|n| envelope(|logged| logged.service = format!("s{}", n % 3))).collect();
    for n in 0..50 {
        sent.push(sent[n].clone());
        let mut ancient = envelope(|_| {});
        ancient.timestamp = i64::try_from(n).unwrap();
        sent.push(ancient);
        sent.push(envelope(|logged| logged.route = "\0".into()));
    }
    app.publish_all(&sent).await;
    wait_until("everything accounted for", PATIENCE, || async {
        let now = Accounts::read();
        let sum = now.stored + now.duplicates + now.dropped;
        // Other tests of this process count in the same accounts, so they may hold more than was sent here.
        let complete = now.received - before.received >= 450
            && now.stored - before.stored >= 300
            && now.duplicates - before.duplicates >= 50
            && now.dropped - before.dropped >= 100;
        if complete && now.received == sum { Ok(()) } else { Err(now) }
    })
    .await;
    let pool = app.database.app_pool();
    let rows: i64 =
        sqlx::query_scalar("select count(*) from request_logs").fetch_one(&pool).await.unwrap();
    assert_eq!(rows, 300);
    app.finish(0).await;
}

#[derive(Debug)]
struct Accounts {
    received: u64,
    stored: u64,
    duplicates: u64,
    dropped: u64,
}

impl Accounts {
    fn read() -> Self {
        let count = |name| metrics::counter(name, "").get();
        let dropped = metrics::counter_vec("log_ingest_records_dropped_total", "", &["reason"]);
        let reasons = ["out_of_window", "malformed"];
        Self {
            received: count("log_ingest_records_received_total"),
            stored: count("log_ingest_records_stored_total"),
            duplicates: count("log_ingest_records_duplicate_total"),
            dropped: reasons.iter().map(|it| dropped.with_label_values(&[it]).get()).sum(),
        }
    }
}
