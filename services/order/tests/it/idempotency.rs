//! The same key gets the same answer, whatever happens at the same time.

use futures::future::join_all;
use millrace_common::outbox::idempotency::{IdempotencyKey, lock_key};
use reqwest::StatusCode;
use serde_json::json;

use crate::harness::{basket, spawn_app};

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_first_answer_and_places_nothing() {
    let app = spawn_app().await;
    app.product("TEA-1", 1250, "EUR").await;
    let first = app.place("ann", "k", &basket("TEA-1", 2)).await;
    assert_eq!(first.header("idempotency-replayed"), None);
    // Quoted, as the draft has it, and spaced otherwise: the same key and the same request.
    let again = app.place("ann", "\"k\"", &basket("TEA-1", 2)).await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
    assert_eq!(again.text, first.text);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(app.count("orders").await, 1);
    assert_eq!(app.order_events(first.order()).await, ["order.placed"]);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_duplicates_place_exactly_one_order() {
    let app = spawn_app().await;
    app.product("TEA-1", 1250, "EUR").await;
    let body = basket("TEA-1", 2);
    let answers = join_all((0..24).map(|_| app.place("ann", "k", &body))).await;
    let mut orders = Vec::new();
    for answer in &answers {
        if answer.status == StatusCode::CONFLICT {
            assert_eq!(answer.code(), "idempotency.in_flight");
            assert_eq!(answer.header("retry-after"), Some("1"));
        } else {
            orders.push(answer.order());
        }
    }
    orders.dedup();
    assert_eq!(orders.len(), 1, "{answers:?}");
    assert_eq!(app.count("orders").await, 1);
    assert_eq!(app.count("idempotency").await, 1);
    assert_eq!(app.order_events(orders[0]).await, ["order.placed"]);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_being_worked_on_answers_409() {
    let app = spawn_app().await;
    app.product("TEA-1", 1250, "EUR").await;
    let mut transaction = app.pool().begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(lock_key("customer:ann", &IdempotencyKey::parse("k").unwrap()))
        .execute(&mut *transaction)
        .await
        .unwrap();
    let blocked = app.place("ann", "k", &basket("TEA-1", 2)).await;
    assert_eq!(blocked.status, StatusCode::CONFLICT);
    assert_eq!(blocked.code(), "idempotency.in_flight");
    assert_eq!(blocked.header("retry-after"), Some("1"));
    app.place("bob", "k", &basket("TEA-1", 2)).await.order();
    transaction.rollback().await.unwrap();
    app.place("ann", "k", &basket("TEA-1", 2)).await.order();
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_under_the_same_key_is_refused() {
    let app = spawn_app().await;
    app.product("TEA-1", 1250, "EUR").await;
    app.place("ann", "k", &basket("TEA-1", 2)).await.order();
    for body in [basket("TEA-1", 3), basket("NONE", 2)] {
        let refused = app.place("ann", "k", &body).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(refused.code(), "idempotency.key_reused");
    }
    assert_eq!(app.count("orders").await, 1);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_gets_the_first_answer_though_the_product_is_gone() {
    let app = spawn_app().await;
    app.product("TEA-1", 1250, "EUR").await;
    let first = app.place("ann", "k", &basket("TEA-1", 2)).await;
    sqlx::query("update products set sellable = false").execute(&app.pool()).await.unwrap();
    assert_eq!(app.place("ann", "k", &basket("TEA-1", 2)).await.text, first.text);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_key_is_free_again() {
    let app = spawn_app().await;
    app.product("TEA-1", 1250, "EUR").await;
    let first = app.place("ann", "k", &basket("TEA-1", 2)).await.order();
    let kept: bool = sqlx::query_scalar(
        "select expires_at between now() + interval '23 hours' and now() + interval '24 hours' from idempotency",
    )
    .fetch_one(&app.pool())
    .await
    .unwrap();
    assert!(kept, "kept for 24 hours");
    sqlx::query("update idempotency set expires_at = now()").execute(&app.pool()).await.unwrap();
    let body = json!({ "lines": [{ "sku": "TEA-1", "quantity": 1 }] });
    let second = app.place("ann", "k", &body).await.order();
    assert_ne!(first, second);
    assert_eq!(app.place("ann", "k", &body).await.order(), second);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_repeat_can_ask_for_is_forgotten() {
    let app = spawn_app().await;
    app.product("TEA-1", 1250, "EUR").await;
    for key in ["old", "new"] {
        app.place("ann", key, &basket("TEA-1", 2)).await.order();
    }
    for statement in [
        "update idempotency set expires_at = now() where key = 'old'",
        "insert into inbox values (gen_random_uuid(), 'old', now() - interval '8 days')",
        "insert into inbox values (gen_random_uuid(), 'new', now() - interval '6 days')",
    ] {
        sqlx::query(statement).execute(&app.pool()).await.unwrap();
    }
    app.run_task("upkeep").await;
    let left: Vec<String> = sqlx::query_scalar(
        "select 'key ' || key from idempotency union all select 'message ' || consumer_group from inbox",
    )
    .fetch_all(&app.pool())
    .await
    .unwrap();
    assert_eq!(left, ["key new", "message new"]);
    app.finish(0).await;
}
