//! A topic may carry an event several times; its effect comes once.

use uuid::Uuid;

use crate::harness::{Wish, cancelled, confirmed, placed, spawn_app_with};
use millrace_testkit::Stack;

#[tokio::test(flavor = "multi_thread")]
async fn a_redelivered_event_has_one_effect_wherever_it_comes_again() {
    // One partition, whose committed offset tells that everything before it was handled.
    let wish = Wish { partitions: 1, ..Wish::default() };
    let app = spawn_app_with(Stack::shared().await, wish).await;
    app.stock_up("A", 100).await;
    let (kept, sold, freed, refused) =
        (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
    let first = [
        placed(kept, &[("A", 1)]),
        placed(sold, &[("A", 2)]),
        confirmed(sold),
        placed(freed, &[("A", 4)]),
        cancelled(freed),
        cancelled(refused),
        placed(refused, &[("A", 8)]),
    ];
    // The same messages at once, backwards, and each thrice.
    let mut deliveries = first.to_vec();
    deliveries.extend(first.iter().rev().cloned());
    deliveries.extend(
        first.iter().flat_map(|message| [message.clone(), message.clone(), message.clone()]),
    );
    app.send(&deliveries).await;
    let last = Uuid::now_v7();
    app.send(&[placed(last, &[("A", 16)])]).await;
    app.wait_until_all_is_handled().await;
    // And once more after all of it was committed.
    app.send(&deliveries).await;
    let marker = Uuid::now_v7();
    app.send(&[placed(marker, &[("A", 32)])]).await;
    app.wait_until_all_is_handled().await;

    assert_eq!(app.stock("A").await.pieces(), (100 - 1 - 2 - 16 - 32, 1 + 16 + 32, 2));
    for (order, status, told) in [
        (kept, "held", vec!["reservation.held"]),
        (sold, "confirmed", vec!["reservation.held", "reservation.confirmed"]),
        (freed, "released", vec!["reservation.held", "reservation.released"]),
        (refused, "refused", vec!["reservation.refused"]),
    ] {
        assert_eq!(app.status(order).await.as_deref(), Some(status));
        assert_eq!(app.event_types("inventory-events", &order.to_string()).await, told);
    }
    assert_eq!(app.count("select count(*) from inbox").await, 9);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_message_with_the_same_wish_has_no_second_effect() {
    let wish = Wish { partitions: 1, ..Wish::default() };
    let app = spawn_app_with(Stack::shared().await, wish).await;
    app.stock_up("A", 10).await;
    let order = Uuid::now_v7();
    // Other message ids, so the inbox knows neither; the reservation does.
    app.send(&[
        placed(order, &[("A", 3)]),
        placed(order, &[("A", 3)]),
        confirmed(order),
        confirmed(order),
    ])
    .await;
    let marker = Uuid::now_v7();
    app.send(&[placed(marker, &[("A", 1)])]).await;
    app.wait_until_all_is_handled().await;
    assert_eq!(app.stock("A").await.pieces(), (6, 1, 3));
    assert_eq!(
        app.event_types("inventory-events", &order.to_string()).await,
        ["reservation.held", "reservation.confirmed"]
    );
    app.finish().await;
}
