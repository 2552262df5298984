//! Stock is reconciled: the result is audited, and what doesn't add up is told by its SKU.

use millrace_testkit::Stack;
use serde_json::Value;
use uuid::Uuid;

use crate::harness::{OFF, TestApp, Wish, confirmed, placed, spawn_app, spawn_app_with};

/// What the last reconciliation found.
async fn reconciled(app: &TestApp<'_>) -> Value {
    app.run_task("reconcile-stock").await;
    let records = app.records("audit-topic").await;
    let mut of_stock =
        records.iter().filter(|record| record.key.as_deref() == Some(b"stock/all".as_slice()));
    let last = of_stock.next_back().expect("an audit record").json();
    assert_eq!(last["payload"]["action"], "stock.reconcile");
    assert_eq!(last["payload"]["actor"], "service:inventory");
    last["payload"]["detail"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_that_adds_up_is_audited_with_its_totals() {
    let app = spawn_app().await;
    app.stock_up("A", 10).await;
    app.stock_up("B", 5).await;
    let (held, sold) = (Uuid::now_v7(), Uuid::now_v7());
    app.send(&[placed(held, &[("A", 1)]), placed(sold, &[("A", 2), ("B", 3)])]).await;
    app.wait_for_status(held, "held").await;
    app.send(&[confirmed(sold)]).await;
    app.wait_for_status(sold, "confirmed").await;
    let found = reconciled(&app).await;
    for (key, expected) in [
        ("products", "2"),
        ("loaded", "15"),
        ("free", "9"),
        ("held", "1"),
        ("sold", "5"),
        ("differences", "0"),
        ("different", ""),
    ] {
        assert_eq!(found[key], expected, "{key} in {found}");
    }
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_that_does_not_add_up_is_told_by_its_sku() {
    let app = spawn_app().await;
    let (unreserved, unloaded) = (format!("{OFF}-1"), format!("{OFF}-2"));
    for sku in [&unreserved, &unloaded, &"GOOD".to_owned()] {
        app.stock_up(sku, 10).await;
    }
    // Around the service: a held piece that no reservation has, and, without the constraint, a piece from nowhere.
    for statement in [
        "update stock set free = free - 1, held = held + 1 where sku = 'OFF-BALANCE-1'",
        "alter table stock drop constraint stock_balances",
        "update stock set loaded = loaded + 1 where sku = 'OFF-BALANCE-2'",
    ] {
        sqlx::query(statement).execute(&app.owner).await.unwrap();
    }
    let found = reconciled(&app).await;
    assert_eq!(found["differences"], "2", "{found}");
    assert_eq!(found["different"], format!("{unreserved} {unloaded}"), "{found}");
    for sku in [&unreserved, &unloaded] {
        assert_eq!(app.error_lines(&format!("stock of `{sku}` doesn't add up")), 1);
    }
    sqlx::query("update stock set loaded = 10, free = 10, held = 0")
        .execute(&app.owner)
        .await
        .unwrap();
    assert_eq!(reconciled(&app).await["differences"], "0");
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_stock_is_reconciled_and_the_other_tasks_are_done_all_the_same() {
    let settings = vec![("REDIS__PORT", "1"), ("SCHEDULER__LEASE_TTL", "1s")];
    let app = spawn_app_with(Stack::shared().await, Wish { settings, ..Wish::default() }).await;
    app.stock_up("A", 10).await;
    assert_eq!(reconciled(&app).await["loaded"], "10");
    for task in ["report-overdue", "upkeep"] {
        app.run_task(task).await;
    }
    app.finish().await;
}
