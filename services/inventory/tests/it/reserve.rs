//! Orders hold, sell and release stock.

use millrace_contracts::events::{OrderAwaitingPayment, OrderEvent};
use serde_json::json;
use uuid::Uuid;

use crate::harness::{cancelled, confirmed, envelope, placed, spawn_app, text, trace_id_of};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_held_and_told_in_its_own_trace() {
    let app = spawn_app().await;
    app.stock_up("TEA-1", 10).await;
    app.stock_up("TEA-2", 5).await;
    let order = Uuid::now_v7();
    let message = placed(order, &[("TEA-1", 2), ("TEA-2", 1)]);
    app.send(std::slice::from_ref(&message)).await;
    app.wait_for_status(order, "held").await;
    assert_eq!(app.stock("TEA-1").await.pieces(), (8, 2, 0));
    assert_eq!(app.stock("TEA-2").await.pieces(), (4, 1, 0));

    let records = app.records("inventory-events").await;
    assert_eq!(records.len(), 1);
    let held = &records[0];
    assert_eq!(held.key.as_deref(), Some(order.to_string().as_bytes()));
    assert_eq!(held.json()["type"], "reservation.held");
    assert_eq!(held.json()["source"], "inventory");
    assert_eq!(held.json()["payload"]["order_id"], json!(order));
    assert_eq!(held.header_text("ce_causationid"), Some(message.id.to_string()));
    assert_eq!(held.header_text("ce_actor").as_deref(), Some("ann"));
    assert_eq!(held.header_text("ce_correlationid").as_deref(), Some("c-1"));
    let trace = held.header_text("traceparent").unwrap_or_default();
    assert_eq!(trace.split('-').nth(1), Some(trace_id_of(&message).as_str()), "{trace}");

    let levels = app.records("stock-levels").await;
    let last = levels.iter().rfind(|record| record.key.as_deref() == Some(b"TEA-1")).unwrap();
    assert_eq!(
        last.json()["payload"],
        json!({"sku": "TEA-1", "free": 8, "held": 2, "sold": 0, "row_version": 3})
    );
    let changes = app.records("stock-changes").await;
    let last = changes.iter().rfind(|record| record.key.as_deref() == Some(b"TEA-1")).unwrap();
    assert_eq!(
        last.json()["payload"],
        json!({"sku": "TEA-1", "free_change": -2, "held_change": 2, "sold_change": 0, "row_version": 3})
    );

    let audit = app.records("audit-topic").await;
    let hold = audit
        .iter()
        .map(|record| record.json()["payload"].clone())
        .find(|payload| payload["action"] == "reservation.hold")
        .expect("the hold is audited");
    assert_eq!(hold["actor"], "ann");
    assert_eq!(hold["resource"], json!(format!("reservation/{order}")));
    assert_eq!(text(&hold["trace_id"]), trace_id_of(&message));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_with_a_short_or_unknown_line_holds_nothing() {
    let app = spawn_app().await;
    app.stock_up("A", 10).await;
    app.stock_up("B", 1).await;
    let (short, unknown) = (Uuid::now_v7(), Uuid::now_v7());
    app.send(&[placed(short, &[("A", 2), ("B", 2)]), placed(unknown, &[("A", 1), ("NO-SUCH", 1)])])
        .await;
    app.wait_for_status(short, "rejected").await;
    app.wait_for_status(unknown, "rejected").await;
    assert_eq!(app.stock("A").await.pieces(), (10, 0, 0));
    assert_eq!(app.stock("B").await.pieces(), (1, 0, 0));
    assert_eq!(app.count("select count(*) from reservation_lines").await, 0);

    let shortages = |order: Uuid| {
        let app = &app;
        async move {
            let records = app.records("inventory-events").await;
            let key = order.to_string();
            let record =
                records.iter().find(|record| record.key.as_deref() == Some(key.as_bytes()));
            record.expect("the rejection is told").json()["payload"]["shortages"].clone()
        }
    };
    assert_eq!(
        shortages(short).await,
        json!([{"sku": "B", "requested": 2, "free": 1, "reason": "out_of_stock"}])
    );
    assert_eq!(
        shortages(unknown).await,
        json!([{"sku": "NO-SUCH", "requested": 1, "free": 0, "reason": "unknown_sku"}])
    );
    assert_eq!(app.audited(&format!("reservation/{short}")).await, ["reservation.reject refused"]);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_order_is_sold_and_a_cancelled_one_is_free_again() {
    let app = spawn_app().await;
    app.stock_up("A", 10).await;
    let (paid, dropped) = (Uuid::now_v7(), Uuid::now_v7());
    let news = OrderEvent::AwaitingPayment(OrderAwaitingPayment { order_id: paid, pay_until: 0 });
    app.send(&[placed(paid, &[("A", 3)]), placed(dropped, &[("A", 4)]), envelope(news)]).await;
    app.wait_for_status(paid, "held").await;
    app.wait_for_status(dropped, "held").await;
    app.send(&[confirmed(paid), cancelled(dropped)]).await;
    app.wait_for_status(paid, "confirmed").await;
    app.wait_for_status(dropped, "released").await;
    assert_eq!(app.stock("A").await.pieces(), (7, 0, 3));
    let told = |order: Uuid| {
        let app = &app;
        async move { app.event_types("inventory-events", &order.to_string()).await }
    };
    assert_eq!(told(paid).await, ["reservation.held", "reservation.confirmed"]);
    assert_eq!(told(dropped).await, ["reservation.held", "reservation.released"]);
    assert_eq!(
        app.audited(&format!("reservation/{dropped}")).await,
        ["reservation.hold done", "reservation.release done"]
    );
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_before_its_reservation_is_noted_and_the_late_request_refused() {
    let app = spawn_app().await;
    app.stock_up("A", 10).await;
    let order = Uuid::now_v7();
    app.send(&[cancelled(order)]).await;
    app.wait_for_status(order, "cancelled").await;
    app.send(&[placed(order, &[("A", 3)])]).await;
    app.wait_for_status(order, "refused").await;
    assert_eq!(app.stock("A").await.pieces(), (10, 0, 0));
    assert_eq!(
        app.event_types("inventory-events", &order.to_string()).await,
        ["reservation.refused"]
    );
    assert_eq!(
        app.audited(&format!("reservation/{order}")).await,
        ["reservation.cancel_first done", "reservation.refuse refused"]
    );
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_applied_is_a_dead_letter_and_its_neighbours_go_on() {
    let mut app = spawn_app().await;
    app.stock_up("A", 10).await;
    let orders: Vec<Uuid> = (0..6).map(|_| Uuid::now_v7()).collect();
    let stranger = Uuid::now_v7();
    let mut batch: Vec<_> = orders.iter().map(|order| placed(*order, &[("A", 1)])).collect();
    batch.insert(3, confirmed(stranger));
    batch.insert(5, placed(Uuid::now_v7(), &[("A", 1), ("A", 1)]));
    app.send(&batch).await;
    for order in &orders {
        app.wait_for_status(*order, "held").await;
    }
    let dead = app.expect_dead_letters(2).await;
    for letter in &dead {
        assert_eq!(
            letter.header_text("kafka_dlt-exception-fqcn").as_deref(),
            Some("event.not_applicable")
        );
    }
    assert_eq!(app.status(stranger).await, None);
    assert_eq!(app.stock("A").await.pieces(), (4, 6, 0));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undecodable_bytes_are_dead_lettered_untouched() {
    let mut app = spawn_app().await;
    app.stock_up("A", 1).await;
    let topic = app.names.topic("order-events");
    let garbage: &[u8] = b"\xff\xfe not json";
    app.stack.produce(&topic, b"k", Some(garbage), &[]).await;
    let dead = app.expect_dead_letters(1).await;
    assert_eq!(dead[0].payload.as_deref(), Some(garbage));
    let order = Uuid::now_v7();
    app.send(&[placed(order, &[("A", 1)])]).await;
    app.wait_for_status(order, "held").await;
    app.finish().await;
}
