//! Stock is loaded and taken off, once per idempotency key.

use millrace_testkit::api::{Api, Reply};
use millrace_testkit::{Issuer, TokenClaims};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::harness::{spawn_app, text};

async fn adjust(api: &Api, sku: &str, key: &str, body: &Value) -> Reply {
    let request = api.request(Method::POST, &format!("/api/v1/stock/{sku}/adjustments"));
    api.send(request.header("Idempotency-Key", key).json(body)).await.expect("an answer")
}

fn received(change: i64) -> Value {
    json!({"change": change, "reason": "received"})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adjustment_changes_the_free_pieces_and_is_told_and_audited() {
    let app = spawn_app().await;
    app.stock_up("A", 0).await;
    let loaded = adjust(&app.admin, "A", "k1", &received(10)).await;
    assert_eq!(loaded.status, StatusCode::OK);
    assert_eq!(
        loaded.data(),
        &json!({"sku": "A", "loaded": 10, "free": 10, "held": 0, "sold": 0, "row_version": 2})
    );
    let damaged = json!({"change": -4, "reason": "damaged"});
    let taken = adjust(&app.admin, "A", "k2", &damaged).await;
    assert_eq!(taken.data()["free"], 6);

    let changes = app.records("stock-changes").await;
    let moved: Vec<Value> =
        changes.iter().map(|record| record.json()["payload"]["free_change"].clone()).collect();
    assert_eq!(moved, [json!(10), json!(-4)]);
    let levels = app.records("stock-levels").await;
    assert_eq!(
        levels.last().map(|record| record.json()["payload"].clone()),
        Some(json!({"sku": "A", "free": 6, "held": 0, "sold": 0, "row_version": 3}))
    );
    let audit = app.records("audit-topic").await;
    let details: Vec<Value> = audit
        .iter()
        .map(|record| record.json()["payload"].clone())
        .filter(|payload| payload["action"] == "stock.adjust")
        .collect();
    assert_eq!(details.len(), 2);
    assert_eq!(details[1]["actor"], "admin-1");
    assert_eq!(details[1]["detail"], json!({"change": "-4", "free": "6", "reason": "damaged"}));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_duplicates_have_one_effect_and_one_answer() {
    let app = spawn_app().await;
    app.stock_up("A", 0).await;
    let body = received(10);
    let replies =
        futures::future::join_all((0..12).map(|_| adjust(&app.admin, "A", "same", &body))).await;
    let mut answers = Vec::new();
    for reply in replies {
        match reply.status {
            StatusCode::OK => answers.push(reply.body),
            StatusCode::CONFLICT => {
                assert_eq!(reply.code, "idempotency.in_flight");
                assert!(reply.headers.contains_key("retry-after"));
            }
            other => panic!("{other}: {}", reply.body),
        }
    }
    assert!(!answers.is_empty());
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(app.stock("A").await.pieces(), (10, 0, 0));

    let late = adjust(&app.admin, "A", "same", &body).await;
    assert_eq!((late.status, &late.body), (StatusCode::OK, &answers[0]));
    let other = adjust(&app.admin, "A", "same", &received(11)).await;
    assert_eq!(other.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(other.code, "idempotency.key_reused");
    assert_eq!(app.stock("A").await.pieces(), (10, 0, 0));
    assert_eq!(app.audited("stock/A").await, ["stock.adjust done"]);

    // Another caller's key of the same text is another key.
    let second = TokenClaims { subject: "admin-2".to_owned(), ..TokenClaims::admin() };
    let token = Issuer::shared().token(&second).expect("a token");
    let theirs = adjust(&app.admin.with_token(token), "A", "same", &body).await;
    assert_eq!((theirs.status, &theirs.data()["free"]), (StatusCode::OK, &json!(20)));
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_below_zero_and_the_refusal_is_replayed() {
    let app = spawn_app().await;
    app.stock_up("A", 5).await;
    let refused = adjust(&app.admin, "A", "k1", &received(-6)).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(
        (refused.code.as_str(), &refused.data()["free"]),
        ("stock.not_enough_free", &json!(5))
    );
    app.admin.adjust_stock("A", 5).await.unwrap();
    let again = adjust(&app.admin, "A", "k1", &received(-6)).await;
    assert_eq!((again.status, &again.body), (refused.status, &refused.body));
    let problem = app
        .admin
        .request(Method::POST, "/api/v1/stock/A/adjustments")
        .header("Idempotency-Key", "k1")
        .header("Accept", "application/problem+json")
        .json(&received(-6));
    let problem = app.admin.send(problem).await.unwrap();
    assert_eq!(text(&problem.body["type"]), "urn:millrace:error:stock.not_enough_free");
    assert_eq!(app.stock("A").await.pieces(), (10, 0, 0));
    assert_eq!(
        app.audited("stock/A").await,
        ["stock.adjust done", "stock.adjust refused", "stock.adjust done"]
    );
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_used_for_an_unknown_product_is_free_again() {
    let app = spawn_app().await;
    let missing = adjust(&app.admin, "A", "k1", &received(1)).await;
    assert_eq!(
        (missing.status, missing.code.as_str()),
        (StatusCode::NOT_FOUND, "product.not_found")
    );
    assert_eq!(app.count("select count(*) from idempotency").await, 0);
    app.stock_up("A", 0).await;
    assert_eq!(adjust(&app.admin, "A", "k1", &received(1)).await.status, StatusCode::OK);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_has_an_upper_bound() {
    let app = spawn_app().await;
    app.stock_up("A", 0).await;
    // Loaded to the brim behind the service's back: a thousand adjustments would take too long.
    sqlx::query("update stock set loaded = 1000000000000, free = 1000000000000 where sku = 'A'")
        .execute(&app.owner)
        .await
        .expect("the owner may");
    let refused = adjust(&app.admin, "A", "k1", &received(1)).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused.code, "stock.limit_exceeded");
    app.finish().await;
}
