//! One order in every end state, with the books balanced after each.

use millrace_system_tests::{PATIENCE, Start, System};
use millrace_testkit::api::success_for;
use millrace_testkit::wait_until;
use serde_json::{Value, json};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_held_paid_and_sold_and_can_be_read_from_the_first_moment() {
    let system = System::start().await;
    system.stock("TEA", 1250, 10).await;
    let order = system.place(&[("TEA", 3)]).await;
    let at_once = system.api.order(order).await.unwrap();
    assert_eq!(at_once.status, 200, "{}", at_once.body);
    let awaiting = system.wait_for(order, "awaiting_payment").await;
    assert_eq!((&awaiting["total_minor"], &awaiting["currency"]), (&json!(3750), &json!("EUR")));
    assert_eq!(system.pay(order).await.status, 202);
    system.wait_for(order, "confirmed").await;
    let ledger = system.assert_ledger().await;
    assert_eq!((ledger.stock[0].free, ledger.stock[0].held, ledger.stock[0].sold), (7, 0, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_can_not_be_held_whole_is_rejected_and_holds_nothing() {
    let system = System::start().await;
    system.stock("TEA", 100, 10).await;
    system.stock("CUP", 900, 1).await;
    let order = system.place(&[("TEA", 1), ("CUP", 2)]).await;
    system.wait_for(order, "rejected").await;
    let ledger = system.assert_ledger().await;
    assert!(ledger.stock.iter().all(|line| line.free == line.loaded), "{ledger}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_cancels_before_and_after_the_reservation() {
    let system = System::start().await;
    system.stock("TEA", 100, 10).await;
    let held = system.place(&[("TEA", 2)]).await;
    system.wait_for(held, "awaiting_payment").await;
    assert_eq!(system.api.cancel(held).await.unwrap().status, 200);
    // Inventory is down, so this cancellation is decided before the reservation was even asked for.
    system.inventory.stop().await;
    let early = system.place(&[("TEA", 2)]).await;
    assert_eq!(system.api.cancel(early).await.unwrap().status, 200);
    system.inventory.start().await;
    for order in [held, early] {
        let order = system.wait_for(order, "cancelled").await;
        assert_eq!(order["reason"], "customer");
    }
    let again = system.api.cancel(held).await.unwrap();
    assert_eq!(again.status, 200, "{}", again.body);
    let ledger = system.assert_ledger().await;
    assert_eq!(ledger.stock[0].free, 10, "{ledger}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_payment_cancels_and_a_wrong_amount_changes_nothing() {
    let system = System::start().await;
    system.stock("TEA", 100, 10).await;
    let refused = system.place(&[("TEA", 1)]).await;
    system.wait_for(refused, "awaiting_payment").await;
    assert_eq!(system.fail_payment(refused).await.status, 202);
    assert_eq!(system.wait_for(refused, "cancelled").await["reason"], "payment_failed");

    let short = system.place(&[("TEA", 1)]).await;
    let order = system.wait_for(short, "awaiting_payment").await;
    let mut result = success_for(&order);
    result["amount_minor"] = json!(1);
    assert_eq!(system.payment_result(&result).await.status, 202);
    let refusal = audited(&system, short, "payment.apply").await;
    assert_eq!(refusal["outcome"], "refused");
    assert_eq!(system.api.order(short).await.unwrap().data()["status"], "awaiting_payment");
    let ledger = system.assert_ledger().await;
    assert_eq!((ledger.stock[0].free, ledger.stock[0].held), (9, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_comes_early_is_kept_and_one_that_comes_too_late_is_due_back() {
    let system = System::start().await;
    system.stock("TEA", 100, 10).await;
    system.inventory.stop().await;
    let early = system.place(&[("TEA", 1)]).await;
    assert_eq!(system.pay(early).await.status, 202);
    audited(&system, early, "payment.receive").await;
    system.inventory.start().await;
    system.wait_for(early, "confirmed").await;

    let late = system.place(&[("TEA", 1)]).await;
    system.wait_for(late, "awaiting_payment").await;
    assert_eq!(system.api.cancel(late).await.unwrap().status, 200);
    assert_eq!(system.pay(late).await.status, 202);
    let events = system.namespace.topic("order-events");
    wait_until("order.refund_due", PATIENCE, || async {
        let records = system.stack().records(&events).await;
        records.iter().any(|record| {
            let event = record.json();
            event["type"] == "order.refund_due" && event["payload"]["order_id"] == late.to_string()
        })
    })
    .await;
    system.assert_ledger().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unpaid_order_expires_and_its_stock_is_free_again() {
    let system = System::start_with(Start {
        settings: vec![
            ("order", "ORDER__PAY_WITHIN", "200ms".to_owned()),
            ("order", "ORDER__EXPIRY_INTERVAL", "1s".to_owned()),
        ],
        ..Start::default()
    })
    .await;
    system.stock("TEA", 100, 10).await;
    let order = system.place(&[("TEA", 4)]).await;
    assert_eq!(system.wait_for(order, "cancelled").await["reason"], "expired");
    assert_eq!(system.assert_ledger().await.stock[0].free, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_and_the_same_callback_have_one_effect() {
    let system = System::start().await;
    system.stock("TEA", 100, 10).await;
    let key = Uuid::now_v7().to_string();
    let lines: &[(&str, u32)] = &[("TEA", 1)];
    let replies = futures::future::join_all((0..8).map(|_| system.api.place(&key, lines))).await;
    let mut accepted = Vec::new();
    for reply in replies.into_iter().map(Result::unwrap) {
        match reply.status.as_u16() {
            202 => accepted.push(reply.order_id()),
            409 => assert_eq!(reply.code, "idempotency.in_flight"),
            other => panic!("{other}: {}", reply.body),
        }
    }
    let replay = system.api.place(&key, lines).await.unwrap();
    accepted.push(replay.order_id());
    accepted.dedup();
    assert_eq!(accepted.len(), 1, "{accepted:?}");
    let other_body = system.api.place(&key, &[("TEA", 2)]).await.unwrap();
    assert_eq!(
        (other_body.status.as_u16(), other_body.code.as_str()),
        (422, "idempotency.key_reused")
    );

    let order = system.wait_for(accepted[0], "awaiting_payment").await;
    let first = system.payment_result(&success_for(&order)).await;
    let second = system.payment_result(&success_for(&order)).await;
    assert_eq!((first.status, first.data()), (second.status, second.data()));
    system.wait_for(accepted[0], "confirmed").await;
    let ledger = system.assert_ledger().await;
    assert_eq!((ledger.accepted(), ledger.stock[0].sold), (1, 1));
}

/// Waits until the audit trail, asked as an administrator would, has this action on this order.
async fn audited(system: &System, order: Uuid, action: &str) -> Value {
    let path = format!("/api/v1/audit/records?resource=order/{order}&action={action}");
    wait_until(&format!("{action} on {order} in the audit trail"), PATIENCE, || async {
        let reply = system.admin.get(&path).await.map_err(|error| format!("{error:#}"))?;
        let records = reply.data()["records"].as_array().cloned().unwrap_or_default();
        records.into_iter().next().ok_or(reply.body.to_string())
    })
    .await
}
