//! An order is accepted at once, at the prices of its moment, and told to the world.

use millrace_contracts::Topic;
use millrace_contracts::events::{ProductChanged, ProductEvent};
use millrace_testkit::wait_until;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{PATIENCE, TestApp, basket, spawn_app};
use crate::outside::{TRACE_ID, TRACEPARENT, envelope};

#[tokio::test(flavor = "multi_thread")]
async fn a_placed_order_can_be_asked_for_straight_away() {
    let app = spawn_app().await;
    app.product("TEA-1", 1250, "EUR").await;
    app.product("CUP-1", 300, "EUR").await;
    let body =
        json!({ "lines": [{ "sku": "TEA-1", "quantity": 2 }, { "sku": "CUP-1", "quantity": 1 }] });
    let placed = app.place("ann", "k1", &body).await;
    let order = placed.order();
    assert_eq!(placed.data("status"), "placed");
    assert_eq!(placed.data("status_url"), format!("/api/v1/orders/{order}"));
    let found = app.get(placed.data("status_url"), "ann").await;
    assert_eq!(found.status, StatusCode::OK);
    assert_eq!(found.body["data"]["total_minor"], 2800);
    assert_eq!(found.body["data"]["currency"], "EUR");
    assert_eq!(
        found.body["data"]["lines"],
        json!([
            { "sku": "TEA-1", "quantity": 2, "unit_price_minor": 1250 },
            { "sku": "CUP-1", "quantity": 1, "unit_price_minor": 300 },
        ])
    );
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn placing_publishes_the_order_and_its_audit_record_in_the_callers_trace() {
    let app = spawn_app().await;
    app.product("TEA-1", 1250, "EUR").await;
    let request = app
        .request(Method::POST, "/api/v1/orders", "ann")
        .header("Idempotency-Key", "k1")
        .header("traceparent", TRACEPARENT)
        .json(&basket("TEA-1", 2));
    let order = app.send(request).await.order();
    app.wait_outbox_empty().await;

    let records = app.records(Topic::OrderEvents).await;
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(record.key.as_deref(), Some(order.to_string().as_bytes()));
    assert_eq!(record.header_text("ce_type").as_deref(), Some("order.placed"));
    assert_eq!(record.header_text("ce_actor").as_deref(), Some("ann"));
    assert_eq!(record.header_text("ce_subject"), Some(order.to_string()));
    assert_eq!(record.header_text("ce_correlationid").as_deref(), Some(TRACE_ID));
    assert!(record.header_text("traceparent").unwrap().contains(TRACE_ID));
    let payload = &record.json()["payload"];
    assert_eq!(payload["total_minor"], 2500);
    assert_eq!(
        payload["lines"],
        json!([{ "sku": "TEA-1", "quantity": 2, "unit_price_minor": 1250 }])
    );

    let audit = &app.envelopes(Topic::AuditTopic, &format!("order/{order}")).await[0]["payload"];
    assert_eq!(audit["action"], "order.place");
    assert_eq!(audit["actor"], "ann");
    assert_eq!(audit["outcome"], "done");
    assert_eq!(audit["trace_id"], TRACE_ID);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_price_does_not_touch_a_placed_order() {
    let app = spawn_app().await;
    let order = app.placed().await;
    app.product("TEA-1", 9999, "EUR").await;
    let found = app.get(&format!("/api/v1/orders/{order}"), "ann").await;
    assert_eq!(found.body["data"]["total_minor"], 2500);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_order_leaves_nothing_behind() {
    let app = spawn_app().await;
    app.product("TEA-1", 1250, "EUR").await;
    app.product("USA-1", 100, "USD").await;
    app.product("GEM-1", 1 << 52, "EUR").await;
    let two = |first: &str, second: &str| json!({ "lines": [{ "sku": first, "quantity": 1 }, { "sku": second, "quantity": 1 }] });
    for (body, code, field) in [
        (two("TEA-1", "NONE"), "order.unknown_sku", "lines[1].sku"),
        (two("TEA-1", "USA-1"), "order.mixed_currencies", "lines[1].sku"),
        (basket("GEM-1", 3), "order.total_too_large", "lines"),
    ] {
        let refused = app.place("ann", "k", &body).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", refused.text);
        assert_eq!(refused.code(), code);
        assert_eq!(refused.fields(), [field]);
    }
    for table in ["orders", "outbox", "idempotency"] {
        assert_eq!(app.count(table).await, 0, "{table}");
    }
    app.place("ann", "k", &basket("TEA-1", 1)).await.order();
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_highest_version_of_a_product_wins_in_whatever_order_they_come() {
    let app = spawn_app().await;
    for (row_version, price_minor, sellable) in [(1, 100, true), (3, 300, true), (2, 200, false)] {
        tell_product(&app, "TEA-1", row_version, price_minor, sellable).await;
    }
    tell_product(&app, "END", 1, 1, true).await;
    wait_until("all products are known", PATIENCE, || async {
        let known = prices(&app).await;
        if known == [("END".to_owned(), 1), ("TEA-1".to_owned(), 300)] {
            Ok(())
        } else {
            Err(known)
        }
    })
    .await;
    app.place("ann", "k", &basket("TEA-1", 1)).await.order();
    tell_product(&app, "TEA-1", 4, 300, false).await;
    let body: Value = basket("TEA-1", 1);
    wait_until("the product is no longer sold", PATIENCE, || async {
        app.place("ann", "k2", &body).await.code() == "order.unknown_sku"
    })
    .await;
    app.finish(0).await;
}

async fn tell_product(
    app: &TestApp,
    sku: &str,
    row_version: i64,
    price_minor: i64,
    sellable: bool,
) {
    let (sku, name, currency) = (sku.to_owned(), "Tea".to_owned(), "EUR".to_owned());
    let changed = ProductChanged { sku, name, price_minor, currency, sellable, row_version };
    app.tell(&envelope("inventory", ProductEvent::Changed(changed))).await;
}

async fn prices(app: &TestApp) -> Vec<(String, i64)> {
    sqlx::query_as("select sku, price_minor from products order by sku")
        .fetch_all(&app.pool())
        .await
        .unwrap()
}
