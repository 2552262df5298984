//! Holds that are older than they should be are told, once, and stay.

use millrace_testkit::{Stack, wait_until};
use uuid::Uuid;

use crate::harness::{SOON, Wish, confirmed, placed, spawn_app_with};

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_too_old_is_told_once_and_never_let_go() {
    let settings = vec![("INVENTORY__OVERDUE_AFTER", "1ms"), ("INVENTORY__OVERDUE_INTERVAL", "1s")];
    let app = spawn_app_with(Stack::shared().await, Wish { settings, ..Wish::default() }).await;
    app.stock_up("A", 10).await;
    let told = |order: Uuid| {
        let app = &app;
        async move {
            let types = app.event_types("inventory-events", &order.to_string()).await;
            types.iter().filter(|found| *found == "reservation.overdue").count()
        }
    };
    let first = Uuid::now_v7();
    app.send(&[placed(first, &[("A", 1)])]).await;
    wait_until("the first report", SOON, || async { told(first).await == 1 }).await;
    // A second one is told by a later run, so the first was passed over by at least that run.
    let second = Uuid::now_v7();
    app.send(&[placed(second, &[("A", 1)])]).await;
    wait_until("the second report", SOON, || async { told(second).await == 1 }).await;
    assert_eq!(told(first).await, 1);
    assert_eq!(app.stock("A").await.pieces(), (8, 2, 0));
    assert_eq!(app.status(first).await.as_deref(), Some("held"));
    app.send(&[confirmed(first)]).await;
    app.wait_for_status(first, "confirmed").await;
    app.finish().await;
}
