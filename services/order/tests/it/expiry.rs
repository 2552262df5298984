//! Unpaid orders expire once: by two instances, after a wiped Redis, and without Redis.

use futures::future::join_all;
use millrace_testkit::Stack;
use millrace_testkit::wait_until;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::harness::{PATIENCE, TestApp, spawn_app, spawn_app_on, spawn_app_with};

/// The log is the process's: one test counts the lines that say what another may cause, too.
static WITHOUT_REDIS: Mutex<()> = Mutex::const_new(());

const AT_ONCE: (&str, &str) = ("ORDER__PAY_WITHIN", "1ms");

/// Orders that await payment and whose time is over.
async fn overdue(app: &TestApp, count: usize) -> Vec<Uuid> {
    let mut orders = Vec::new();
    for _ in 0..count {
        orders.push(app.awaiting_payment().await);
    }
    wait_until("the time to pay is over", PATIENCE, || async {
        let over: bool = sqlx::query_scalar(
            "select bool_and(pay_until < now() - interval '1 millisecond') from orders",
        )
        .fetch_one(&app.pool())
        .await
        .unwrap();
        over
    })
    .await;
    orders
}

async fn assert_expired_once(app: &TestApp, orders: &[Uuid]) {
    for order in orders {
        assert_eq!(app.status(*order).await, "cancelled expired");
        assert_eq!(
            app.order_events(*order).await,
            ["order.placed", "order.awaiting_payment", "order.cancelled"]
        );
        assert_eq!(app.audit_trail(*order).await.last().unwrap(), "order.expire done");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_orders_whose_time_is_over_expire() {
    let app = spawn_app().await;
    let waiting = app.awaiting_payment().await;
    let placed = app.placed().await;
    app.run_task("expire-unpaid").await;
    assert_eq!(app.status(waiting).await, "awaiting_payment");
    assert_eq!(app.status(placed).await, "placed");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_order_is_audited_as_the_services_own_act() {
    let app = spawn_app_with(&[AT_ONCE]).await;
    let orders = overdue(&app, 1).await;
    app.run_task("expire-unpaid").await;
    assert_expired_once(&app, &orders).await;
    let key = format!("order/{}", orders[0]);
    let audits = app.envelopes(millrace_contracts::Topic::AuditTopic, &key).await;
    let expiry = &audits.last().unwrap()["payload"];
    assert_eq!(expiry["actor"], "service:order");
    assert_eq!(expiry["detail"]["reason"], "expired");
    assert!(expiry["trace_id"].is_string(), "{expiry}");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_that_are_asked_at_once_have_one_effect() {
    // One order a transaction, so that an occurrence has many of them.
    let overrides = [AT_ONCE, ("ORDER__EXPIRY_BATCH", "1")];
    let app = spawn_app_with(&overrides).await;
    let second = app.ground.instance(&overrides).await;
    let orders = overdue(&app, 4).await;
    join_all((0..4).map(|_| app.run_task("expire-unpaid"))).await;
    assert_expired_once(&app, &orders).await;
    assert!(second.stop().await);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_inventory_never_answers_expires_and_a_late_answer_changes_nothing() {
    let app = spawn_app_with(&[("ORDER__PLACED_LIMIT", "1ms")]).await;
    let (placed, answered) = (app.placed().await, app.awaiting_payment().await);
    app.run_task("expire-stale-placed").await;
    assert_eq!(app.status(placed).await, "cancelled expired");
    assert_eq!(app.status(answered).await, "awaiting_payment", "only what is placed");
    assert_eq!(app.order_events(placed).await, ["order.placed", "order.cancelled"]);
    assert_eq!(app.audit_trail(placed).await.last().unwrap(), "order.expire done");
    app.hold(placed).await;
    // Behind the answer in the same partition, so it was handled after it.
    let next = app.placed().await;
    app.hold(next).await;
    app.wait_status(next, "awaiting_payment").await;
    assert_eq!(app.status(placed).await, "cancelled expired");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_within_its_limit_stays_placed() {
    let app = spawn_app().await;
    let placed = app.placed().await;
    app.run_task("expire-stale-placed").await;
    assert_eq!(app.status(placed).await, "placed");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_raises_the_incarnation_and_expiry_goes_on() {
    let app = spawn_app_with(&[AT_ONCE]).await;
    let first = app.run_task("expire-unpaid").await.expect("a token");
    let orders = overdue(&app, 1).await;
    // Somebody whose token is far above Redis' counter has been at the sink meanwhile.
    sqlx::query("update lease_fence set fence = fence + $1, holder = 'other'")
        .bind(1_i64 << 40)
        .execute(&app.pool())
        .await
        .unwrap();
    let second = app.run_task("expire-unpaid").await.expect("a token");
    assert!(second > first + (1 << 40), "{first} {second}");
    assert_expired_once(&app, &orders).await;
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_no_order_fails_and_orders_expire_all_the_same() {
    let overrides = [
        AT_ONCE,
        ("REDIS__PORT", "1"),
        ("SCHEDULER__LEASE_TTL", "1s"),
        ("ORDER__EXPIRY_INTERVAL", "1s"),
    ];
    const SAID: &str = "scheduled tasks are dispatched without a lease";
    let _alone = WITHOUT_REDIS.lock().await;
    let app = spawn_app_with(&overrides).await;
    let said_before = app.log_lines(SAID);
    let order = app.placed().await;
    app.hold(order).await;
    app.wait_status(order, "cancelled expired").await;
    assert_expired_once(&app, &[order]).await;
    for task in ["expire-unpaid", "expire-stale-placed", "upkeep"] {
        assert_eq!(app.run_task(task).await, None, "{task} without a token");
    }
    assert_eq!(app.log_lines(SAID) - said_before, 1, "said once");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expiry_goes_on_after_redis_was_wiped_stopped_and_started_empty() {
    let stack: &'static Stack = Box::leak(Box::new(Stack::private().await.unwrap()));
    let app = spawn_app_on(stack, &[AT_ONCE, ("SCHEDULER__LEASE_TTL", "1s")]).await;
    let first = overdue(&app, 1).await;
    let token = app.run_task("expire-unpaid").await.expect("a token");
    assert_expired_once(&app, &first).await;

    stack.redis().flush().await.unwrap();
    let second = overdue(&app, 1).await;
    app.run_task("expire-unpaid").await;
    assert_expired_once(&app, &second).await;

    let _alone = WITHOUT_REDIS.lock().await;
    stack.redis().stop().await.unwrap();
    let third = overdue(&app, 1).await;
    app.run_task("expire-unpaid").await;
    assert_expired_once(&app, &third).await;

    stack.redis().start().await.unwrap();
    let fourth = overdue(&app, 1).await;
    wait_until("expiry under a lease again", PATIENCE, || async {
        let again = app.run_task("expire-unpaid").await;
        if again > Some(token) { Ok(()) } else { Err(again) }
    })
    .await;
    assert_expired_once(&app, &fourth).await;
    app.finish(0).await;
}
