//! Unpaid orders expire once: by two instances, after a wiped Redis, and without Redis.

use futures::future::join_all;
use millrace_testkit::Stack;
use millrace_testkit::wait_until;
use uuid::Uuid;

use crate::harness::{PATIENCE, TestApp, spawn_app, spawn_app_on, spawn_app_with};

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
    app.jobs.expire_unpaid().await;
    assert_eq!(app.status(waiting).await, "awaiting_payment");
    assert_eq!(app.status(placed).await, "placed");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_order_is_audited_as_the_services_own_act() {
    let app = spawn_app_with(&[AT_ONCE]).await;
    let orders = overdue(&app, 1).await;
    app.jobs.expire_unpaid().await;
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
async fn two_instances_running_the_job_have_one_effect() {
    // One order a transaction, so that the two really take turns.
    let overrides = [AT_ONCE, ("ORDER__EXPIRY_BATCH", "1")];
    let app = spawn_app_with(&overrides).await;
    let (second, second_jobs) = app.ground.instance(&overrides).await;
    let orders = overdue(&app, 4).await;
    join_all((0..6).map(|turn| {
        let jobs = if turn % 2 == 0 { &app.jobs } else { &second_jobs };
        jobs.expire_unpaid()
    }))
    .await;
    app.jobs.expire_unpaid().await;
    assert_expired_once(&app, &orders).await;
    assert!(second.stop().await);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_raises_the_incarnation_and_the_next_run_works() {
    let app = spawn_app_with(&[AT_ONCE]).await;
    app.jobs.expire_unpaid().await;
    let orders = overdue(&app, 1).await;
    // Somebody whose token is far above Redis' counter has been at the sink meanwhile.
    sqlx::query("update lease_fence set fence = fence + $1, holder = 'other'")
        .bind(1_i64 << 40)
        .execute(&app.pool())
        .await
        .unwrap();
    app.jobs.expire_unpaid().await;
    assert_eq!(app.status(orders[0]).await, "awaiting_payment", "fenced out");
    app.jobs.expire_unpaid().await;
    assert_expired_once(&app, &orders).await;
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_no_order_fails_and_orders_expire_after_an_interval() {
    let overrides = [AT_ONCE, ("REDIS__PORT", "1"), ("ORDER__EXPIRY_INTERVAL", "100ms")];
    let app = spawn_app_with(&overrides).await;
    let order = app.placed().await;
    app.hold(order).await;
    app.wait_status(order, "cancelled expired").await;
    assert_expired_once(&app, &[order]).await;
    assert_eq!(app.log_lines("orders expire without a lease"), 1, "said once");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expiry_goes_on_after_redis_was_wiped_stopped_and_started_empty() {
    let stack: &'static Stack = Box::leak(Box::new(Stack::private().await.unwrap()));
    let app = spawn_app_on(stack, &[AT_ONCE]).await;
    // Several runs first, so that the counter is above where a wiped one starts again.
    let first = overdue(&app, 1).await;
    for _ in 0..3 {
        app.jobs.expire_unpaid().await;
    }
    assert_expired_once(&app, &first).await;

    stack.redis().flush().await.unwrap();
    let second = overdue(&app, 1).await;
    app.jobs.expire_unpaid().await;
    assert_expired_once(&app, &second).await;

    stack.redis().stop().await.unwrap();
    let third = overdue(&app, 1).await;
    app.jobs.expire_unpaid().await;
    assert_eq!(app.status(third[0]).await, "awaiting_payment", "Redis has only just gone");
    stack.redis().start().await.unwrap();
    wait_until("expired under a lease again", PATIENCE, || async {
        app.jobs.expire_unpaid().await;
        app.status(third[0]).await == "cancelled expired"
    })
    .await;
    assert_expired_once(&app, &third).await;
    app.finish(0).await;
}
