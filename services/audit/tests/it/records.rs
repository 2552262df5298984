//! From the topic to the trail.

use millrace_contracts::events::AuditEvent;
use millrace_testkit::wait_until;
use sqlx::Executor as _;

use crate::harness::{PATIENCE, envelope, spawn_app, spawn_app_with};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_from_the_topic_is_found_with_all_its_parts() {
    let app = spawn_app().await;
    let sent = envelope(|recorded| recorded.actor = "ann \t\\ \u{1f980}".into());
    app.publish(&sent).await;
    app.wait_stored(sent.id).await;

    let answer = app.search("trace_id=0AF7651916CD43DD8448EB211C80319C").await;
    let found = &answer.body["data"]["records"][0];
    assert_eq!(found["id"], sent.id.to_string());
    assert_eq!(found["actor"], "ann \t\\ \u{1f980}");
    assert_eq!(found["action"], "order.place");
    assert_eq!(found["resource"], "order/1");
    assert_eq!(found["outcome"], "done");
    assert_eq!(found["service"], "order");
    assert_eq!(found["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(found["occurred_at"], 1_700_000_000_123_i64);
    assert_eq!(found["detail"]["total_minor"], "2500");
    assert!(found["recorded_at"].as_i64() > Some(1_700_000_000_123));
    assert_eq!(answer.next_cursor(), None);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_delivered_again_is_stored_once() {
    let app = spawn_app().await;
    let repeated = envelope(|_| {});
    // One at a time, so that each repeat meets what the one before it left.
    for _ in 0..3 {
        app.publish(&repeated).await;
        app.wait_finished().await;
    }
    // Side by side, too.
    app.publish_all(&[repeated.clone(), repeated.clone(), repeated.clone()]).await;
    app.wait_finished().await;
    assert_eq!(app.stored(repeated.id).await, 1);
    assert_eq!(app.search("").await.column("id"), [repeated.id.to_string()]);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_stored_is_a_dead_letter_and_its_neighbours_are_stored() {
    let app = spawn_app().await;
    let (before, after) = (envelope(|_| {}), envelope(|_| {}));
    let nul = envelope(|recorded| recorded.actor = "a\0b".into());
    let mut timeless = envelope(|_| {});
    timeless.timestamp = i64::MAX;
    let endless = envelope(|recorded| drop(recorded.detail.insert("x".into(), "x".repeat(20_000))));
    app.publish(&before).await;
    app.publish_all(&[nul.clone(), endless.clone()]).await;
    app.publish_untimed(&timeless).await;
    app.publish_raw(b"order/1", b"\xff\xfe no envelope").await;
    app.publish(&after).await;
    app.wait_stored(before.id).await;
    app.wait_stored(after.id).await;

    let letters = wait_until("dead letters", PATIENCE, || async {
        let letters = app.dead_letters().await;
        if letters.len() == 4 { Ok(letters) } else { Err(letters.len()) }
    })
    .await;
    let bytes: Vec<&[u8]> = letters.iter().filter_map(|letter| letter.payload.as_deref()).collect();
    assert!(bytes.contains(&b"\xff\xfe no envelope".as_slice()));
    assert!(bytes.contains(&nul.to_text().unwrap().as_bytes()));
    let reasons: Vec<_> = letters
        .iter()
        .filter_map(|letter| letter.header_text("kafka_dlt-exception-fqcn"))
        .collect();
    assert_eq!(reasons.iter().filter(|reason| *reason == "event.not_applicable").count(), 3);
    for bad in [nul.id, timeless.id, endless.id] {
        assert_eq!(app.stored(bad).await, 0);
    }
    app.finish(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_refuses_records_wait_and_none_is_lost() {
    let app = spawn_app_with(&[("KAFKA__RETRY_WAIT_MAX", "200ms")]).await;
    let owner = app.database.owner_pool();
    owner.execute("revoke insert on audit_records from millrace_audit_app").await.unwrap();
    let sent: Vec<_> = (0..20).map(|n| envelope(|it| it.resource = format!("order/{n}"))).collect();
    app.publish_all(&sent).await;
    wait_until("a refused attempt", PATIENCE, || async {
        let warnings = app.warnings();
        warnings.iter().any(|line| line.contains("store.unavailable")).then_some(())
    })
    .await;
    owner.execute("grant insert on audit_records to millrace_audit_app").await.unwrap();
    for envelope in &sent {
        app.wait_stored(envelope.id).await;
    }
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_records_in_one_go_are_all_stored() {
    let app = spawn_app().await;
    let pool = app.database.app_pool();
    let sent: Vec<_> =
        (0..1000).map(|n| envelope(|it| it.resource = format!("order/{n}"))).collect();
    app.publish_all(&sent).await;
    wait_until("all stored", PATIENCE, || async {
        let count: i64 = sqlx::query_scalar("select count(*) from audit_records")
            .fetch_one(&pool)
            .await
            .unwrap();
        if count == 1000 { Ok(()) } else { Err(count) }
    })
    .await;
    let AuditEvent::Recorded(first) = &sent[0].payload;
    assert_eq!(app.search(&format!("resource={}", first.resource)).await.column("id").len(), 1);
    app.finish(0).await;
}
