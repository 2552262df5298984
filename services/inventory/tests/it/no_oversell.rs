//! Two hundred buyers, fifty pieces.

use millrace_testkit::{Stack, wait_until};
use uuid::Uuid;

use crate::harness::{SOON, Wish, cancelled, confirmed, placed, spawn_app_with};

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_orders_for_fifty_pieces_sell_fifty() {
    let wish = Wish { partitions: 8, ..Wish::default() };
    let app = spawn_app_with(Stack::shared().await, wish).await;
    app.stock_up("HOT", 50).await;
    app.stock_up("COLD", 1000).await;
    let orders: Vec<Uuid> = (0..200).map(|_| Uuid::now_v7()).collect();
    // Every other order also wants something that is plenty, so locks on two rows meet in both directions.
    let batch: Vec<_> = orders
        .iter()
        .enumerate()
        .map(|(index, order)| match index % 2 {
            0 => placed(*order, &[("HOT", 1)]),
            _ => placed(*order, &[("HOT", 1), ("COLD", 2)]),
        })
        .collect();
    app.send(&batch).await;
    wait_until("200 decided orders", SOON, || async {
        let decided = app.count("select count(*) from reservations").await;
        if decided == 200 { Ok(()) } else { Err(decided) }
    })
    .await;
    let held = app.count("select count(*) from reservations where status = 'held'").await;
    let rejected = app.count("select count(*) from reservations where status = 'rejected'").await;
    assert_eq!((held, rejected), (50, 150));
    assert_eq!(app.stock("HOT").await.pieces(), (0, 50, 0));

    // Those that hold pay or cancel, half and half; the ledger must balance to the piece.
    let holders: Vec<Uuid> =
        sqlx::query_scalar("select order_id from reservations where status = 'held' order by 1")
            .fetch_all(&app.owner)
            .await
            .expect("the holders");
    let ends: Vec<_> = holders
        .iter()
        .enumerate()
        .map(|(index, order)| if index % 2 == 0 { confirmed(*order) } else { cancelled(*order) })
        .collect();
    app.send(&ends).await;
    wait_until("no reservation held", SOON, || async {
        let held = app.count("select count(*) from reservations where status = 'held'").await;
        if held == 0 { Ok(()) } else { Err(held) }
    })
    .await;
    let hot = app.stock("HOT").await;
    assert_eq!(hot.pieces(), (25, 0, 25));
    assert!(hot.row_version < 200, "a hot SKU is written per batch: {hot:?}");
    let told = app.records("inventory-events").await;
    assert_eq!(told.len(), 250);
    app.finish().await;
}
