//! What became of reservations settles orders, once each, and what can't be applied is dead-lettered.

use millrace_contracts::Topic;
use millrace_contracts::events::{
    InventoryEvent, ReservationConfirmed, ReservationOverdue, ReservationRefused,
    ReservationReleased,
};
use serde_json::json;
use uuid::Uuid;

use crate::harness::spawn_app;
use crate::outside::{TRACE_ID, envelope, held, rejected};

#[tokio::test(flavor = "multi_thread")]
async fn a_held_reservation_makes_the_order_await_payment() {
    let app = spawn_app().await;
    let order = app.awaiting_payment().await;
    let events = app.envelopes(Topic::OrderEvents, &order.to_string()).await;
    assert_eq!(events[1]["type"], "order.awaiting_payment");
    let pay_until = events[1]["payload"]["pay_until"].as_i64().unwrap();
    let placed_at = events[0]["payload"]["placed_at"].as_i64().unwrap();
    let minutes = (pay_until - placed_at) / 60_000;
    assert!((15..=16).contains(&minutes), "{minutes} minutes");
    let found = app.get(&format!("/api/v1/orders/{order}"), "ann").await;
    assert_eq!(found.body["data"]["pay_until"].as_i64(), Some(pay_until));
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_carries_the_records_own_context() {
    let app = spawn_app().await;
    let order = app.placed().await;
    let envelope = envelope("inventory", held(order));
    app.tell(&envelope).await;
    app.wait_status(order, "awaiting_payment").await;
    app.wait_outbox_empty().await;
    let records = app.records(Topic::OrderEvents).await;
    let record = records
        .iter()
        .find(|it| it.header_text("ce_type").as_deref() == Some("order.awaiting_payment"));
    let record = record.unwrap();
    assert!(record.header_text("traceparent").unwrap().contains(TRACE_ID));
    assert_eq!(record.header_text("ce_causationid"), Some(envelope.id.to_string()));
    assert_eq!(record.header_text("ce_correlationid").as_deref(), Some("correlation"));
    assert_eq!(record.header_text("ce_actor").as_deref(), Some("ann"));
    let audits = app.envelopes(Topic::AuditTopic, &format!("order/{order}")).await;
    assert_eq!(audits[1]["payload"]["action"], "order.settle_reservation");
    assert_eq!(audits[1]["payload"]["trace_id"], TRACE_ID);
    assert_eq!(audits[1]["payload"]["detail"]["to"], "awaiting_payment");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_reservation_rejects_the_order_and_says_why() {
    let app = spawn_app().await;
    let order = app.placed().await;
    app.tell(&envelope("inventory", rejected(order))).await;
    app.wait_status(order, "rejected").await;
    let events = app.envelopes(Topic::OrderEvents, &order.to_string()).await;
    assert_eq!(events[1]["type"], "order.rejected");
    assert_eq!(
        events[1]["payload"]["shortages"],
        json!([{ "sku": "TEA-1", "requested": 2, "free": 1, "reason": "out_of_stock" }])
    );
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivered_event_has_one_effect() {
    let app = spawn_app().await;
    let order = app.placed().await;
    let first = envelope("inventory", held(order));
    for _ in 0..3 {
        app.tell(&first).await;
    }
    // Said again under another id: the same news, not the same message.
    app.tell(&envelope("inventory", held(order))).await;
    app.wait_status(order, "awaiting_payment").await;
    let later = app.placed().await;
    app.hold(later).await;
    app.wait_status(later, "awaiting_payment").await;
    assert_eq!(app.order_events(order).await, ["order.placed", "order.awaiting_payment"]);
    assert_eq!(app.audit_trail(order).await, ["order.place done", "order.settle_reservation done"]);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_applied_is_dead_lettered_and_the_rest_flows() {
    let app = spawn_app().await;
    let order = app.placed().await;
    app.tell(&envelope("inventory", held(Uuid::now_v7()))).await;
    app.hold(order).await;
    app.wait_status(order, "awaiting_payment").await;
    let letter = app.wait_dead_letter().await;
    let code = letter.header_text("kafka_dlt-exception-fqcn");
    assert_eq!(code.as_deref(), Some("event.not_applicable"));
    // Held before, and now rejected: inventory contradicts itself.
    app.tell(&envelope("inventory", rejected(order))).await;
    let next = app.placed().await;
    app.hold(next).await;
    app.wait_status(next, "awaiting_payment").await;
    assert_eq!(app.status(order).await, "awaiting_payment");
    millrace_testkit::wait_until("two dead letters", crate::harness::PATIENCE, || async {
        app.dead_letters().await.len() == 2
    })
    .await;
    app.finish(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undecodable_bytes_on_every_topic_are_dead_lettered_untouched() {
    let app = spawn_app().await;
    for topic in [Topic::InventoryEvents, Topic::PaymentResults, Topic::ProductChanges] {
        app.tell_bytes(topic, b"\xff\x00 no envelope").await;
    }
    millrace_testkit::wait_until("three dead letters", crate::harness::PATIENCE, || async {
        let letters = app.dead_letters().await;
        letters.len() == 3
            && letters.iter().all(|it| it.payload.as_deref() == Some(b"\xff\x00 no envelope"))
    })
    .await;
    let order = app.awaiting_payment().await;
    assert_eq!(app.status(order).await, "awaiting_payment");
    app.finish(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn echoes_and_reports_of_inventory_change_no_order() {
    let app = spawn_app().await;
    let order_id = app.awaiting_payment().await;
    for event in [
        InventoryEvent::Refused(ReservationRefused { order_id }),
        InventoryEvent::Confirmed(ReservationConfirmed { order_id }),
        InventoryEvent::Released(ReservationReleased { order_id }),
        InventoryEvent::Overdue(ReservationOverdue { order_id, held_at: 1 }),
    ] {
        app.tell(&envelope("inventory", event)).await;
    }
    let later = app.awaiting_payment().await;
    assert_eq!(app.status(later).await, "awaiting_payment");
    assert_eq!(app.order_events(order_id).await, ["order.placed", "order.awaiting_payment"]);
    app.finish(0).await;
}
