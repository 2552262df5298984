//! Bad input gets a 4xx in the reply form that names the field, writes nothing, and is no ERROR.

use millrace_testkit::payments;
use millrace_testkit::tokens::{Issuer, TokenClaims};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Answer, PAYMENT_SECRET, TestApp, basket, spawn_app};
use crate::outside::callback;

const ORDERS: &str = "/api/v1/orders";

/// Every refusal has the reply form, and nothing internal in it.
fn assert_refused(answer: &Answer, status: u16, code: &str, field: &str, what: &str) {
    assert_eq!(answer.status.as_u16(), status, "{what}: {}", answer.text);
    assert_eq!(answer.code(), code, "{what}: {}", answer.text);
    assert!(answer.body["message"].is_string(), "{what}: {}", answer.text);
    if !field.is_empty() {
        assert!(
            answer.fields().contains(&field),
            "{what}: {field} is not named in {}",
            answer.text
        );
    }
    for internal in ["select ", "panicked", "src/"] {
        assert!(!answer.text.contains(internal), "{what}: {}", answer.text);
    }
}

async fn post(app: &TestApp, body: impl Into<reqwest::Body>) -> Answer {
    let request = app.request(Method::POST, ORDERS, "ann").header("Idempotency-Key", "k");
    app.send(request.header("Content-Type", "application/json").body(body)).await
}

async fn assert_nothing_written(app: &TestApp) {
    for table in ["orders", "outbox", "idempotency", "payments"] {
        assert_eq!(app.count(table).await, 0, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_order_is_refused_and_its_field_named() {
    let app = spawn_app().await;
    app.product("TEA-1", 1250, "EUR").await;
    let line =
        |sku: Value, quantity: Value| json!({ "lines": [{ "sku": sku, "quantity": quantity }] });
    let many: Vec<Value> =
        (0..51).map(|n| json!({ "sku": format!("S-{n}"), "quantity": 1 })).collect();
    let twice = json!({ "lines": [{ "sku": "A", "quantity": 1 }, { "sku": "A", "quantity": 1 }] });
    let invalid = "http.invalid_request";
    for (body, code, field) in [
        ("{", "http.malformed_json", ""),
        ("", "http.malformed_json", ""),
        ("[]", invalid, ""),
        ("{}", invalid, "lines"),
        (r#"{"lines":null}"#, invalid, "lines"),
        (r#"{"lines":[]}"#, invalid, "lines"),
        (r#"{"lines":[{"sku":"TEA-1"}]}"#, invalid, "lines[0].quantity"),
        (r#"{"lines":[{"sku":"TEA-1","quantity":1e30}]}"#, invalid, "lines[0].quantity"),
        (r#"{"lines":[{"sku":"TEA-1","quantity":1}],"price":1}"#, invalid, "price"),
        (r#"{"lines":[{"sku":"TEA-1","quantity":1,"price":1}]}"#, invalid, "lines[0].price"),
        (&line(json!("TEA-1"), json!("2")).to_string(), invalid, "lines[0].quantity"),
        (&line(json!("TEA-1"), json!(0)).to_string(), invalid, "lines[0].quantity"),
        (&line(json!("TEA-1"), json!(-1)).to_string(), invalid, "lines[0].quantity"),
        (&line(json!("TEA-1"), json!(10_001)).to_string(), invalid, "lines[0].quantity"),
        (&line(json!("TEA-1"), json!(1.5)).to_string(), invalid, "lines[0].quantity"),
        (&line(json!(7), json!(1)).to_string(), invalid, "lines[0].sku"),
        (&line(json!(""), json!(1)).to_string(), invalid, "lines[0].sku"),
        (&line(json!("A'; drop"), json!(1)).to_string(), invalid, "lines[0].sku"),
        (&line(json!("A\u{0}"), json!(1)).to_string(), invalid, "lines[0].sku"),
        (&json!({ "lines": many }).to_string(), invalid, "lines"),
        (&twice.to_string(), invalid, "lines[1].sku"),
    ] {
        assert_refused(&post(&app, body.to_owned()).await, 400, code, field, body);
    }
    let not_utf8 = b"{\"lines\":[{\"sku\":\"\xff\",\"quantity\":1}]}".to_vec();
    assert_refused(&post(&app, not_utf8).await, 400, "http.malformed_json", "", "bad UTF-8");
    let huge = vec![b' '; 10 * 1024 * 1024];
    assert_refused(&post(&app, huge).await, 413, "http.body_too_large", "", "10 MB");
    let unknown = post(&app, basket("NONE", 1).to_string()).await;
    assert_refused(&unknown, 422, "order.unknown_sku", "lines[0].sku", "unknown SKU");
    assert_nothing_written(&app).await;
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_malformed_key_is_refused() {
    let app = spawn_app().await;
    let body = basket("TEA-1", 1);
    let missing = app.send(app.request(Method::POST, ORDERS, "ann").json(&body)).await;
    assert_refused(&missing, 400, "idempotency.key_missing", "Idempotency-Key", "missing");
    let long = "k".repeat(129);
    for key in ["", "\"open", "a b", "a,b", &long] {
        let answer = app.place("ann", key, &body).await;
        assert_refused(&answer, 400, "idempotency.key_malformed", "Idempotency-Key", key);
    }
    let request = app.request(Method::POST, ORDERS, "ann").json(&body);
    let twice = request.header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    assert_refused(
        &app.send(twice).await,
        400,
        "idempotency.key_malformed",
        "Idempotency-Key",
        "twice",
    );
    assert_nothing_written(&app).await;
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_token_is_refused_before_anything_is_read() {
    let app = spawn_app().await;
    let token = |claims: TokenClaims| Issuer::shared().token(&claims).unwrap();
    let forged = Issuer::generate().unwrap().token(&TokenClaims::default()).unwrap();
    let expired = token(TokenClaims { expires_in: -60, ..TokenClaims::default() });
    let early = token(TokenClaims { valid_from: 60, ..TokenClaims::default() });
    let elsewhere = token(TokenClaims { audience: "other".into(), ..TokenClaims::default() });
    let order = format!("{ORDERS}/{}", Uuid::now_v7());
    for (method, path) in [
        (Method::POST, ORDERS.to_owned()),
        (Method::GET, ORDERS.to_owned()),
        (Method::GET, order.clone()),
        (Method::POST, format!("{order}/cancel")),
    ] {
        let none = app.send(app.anonymous(method.clone(), &path).body("{")).await;
        assert_refused(&none, 401, "auth.missing_token", "", &path);
        for (token, code) in [
            (&forged, "auth.invalid_token"),
            (&expired, "auth.expired_token"),
            (&early, "auth.invalid_token"),
            (&elsewhere, "auth.invalid_token"),
        ] {
            let request = app.anonymous(method.clone(), &path).bearer_auth(token).body("{");
            assert_refused(&app.send(request).await, 401, code, "", &path);
        }
    }
    assert_nothing_written(&app).await;
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_path_or_query_is_refused() {
    let app = spawn_app().await;
    for (path, status, code, field) in [
        ("/api/v1/orders/not-an-id", 400, "http.invalid_request", "id"),
        ("/api/v1/orders/%ff", 400, "http.invalid_request", "id"),
        ("/api/v1/orders?limit=0", 400, "http.invalid_request", "limit"),
        ("/api/v1/orders?limit=101", 400, "http.invalid_request", "limit"),
        ("/api/v1/orders?limit=ten", 400, "http.invalid_request", "limit"),
        ("/api/v1/orders?page=1", 400, "http.invalid_request", "page"),
        ("/api/v1/orders?cursor=", 400, "search.bad_cursor", "cursor"),
        ("/api/v1/orders?cursor=AAAA", 400, "search.bad_cursor", "cursor"),
        ("/api/v1/nothing", 404, "http.not_found", ""),
        ("/api/v1/payments/results", 405, "http.method_not_allowed", ""),
    ] {
        assert_refused(&app.get(path, "ann").await, status, code, field, path);
    }
    let delete = app.send(app.request(Method::DELETE, ORDERS, "ann")).await;
    assert_refused(&delete, 405, "http.method_not_allowed", "", "DELETE");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_callback_is_refused_and_its_field_named() {
    let app = spawn_app().await;
    let good = callback(Uuid::now_v7(), "pay-1", "succeeded");
    let with = |key: &str, value: Value| {
        let mut body = good.clone();
        body[key] = value;
        body.to_string()
    };
    let without = |key: &str| {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(key);
        body.to_string()
    };
    for (body, code, field) in [
        ("{".to_owned(), "http.malformed_json", ""),
        (without("payment_id"), "http.invalid_request", "payment_id"),
        (without("amount_minor"), "http.invalid_request", "amount_minor"),
        (with("payment_id", json!("")), "http.invalid_request", "payment_id"),
        (with("payment_id", json!("a b")), "http.invalid_request", "payment_id"),
        (with("payment_id", json!("p".repeat(129))), "http.invalid_request", "payment_id"),
        (with("order_id", json!("none")), "http.invalid_request", "order_id"),
        (with("result", json!("maybe")), "http.invalid_request", "result"),
        (with("amount_minor", json!(-1)), "http.invalid_request", "amount_minor"),
        (with("amount_minor", json!(i64::MAX)), "http.invalid_request", "amount_minor"),
        (with("amount_minor", json!("25.00")), "http.invalid_request", "amount_minor"),
        (with("currency", json!("euro")), "http.invalid_request", "currency"),
        (with("reason", json!("x".repeat(257))), "http.invalid_request", "reason"),
        (with("reason", json!("a\u{0}")), "http.invalid_request", "reason"),
        (with("tip", json!(1)), "http.invalid_request", "tip"),
    ] {
        let headers = payments::sign(PAYMENT_SECRET, body.as_bytes());
        let answer = app.call_back_with(&headers, body.clone().into_bytes()).await;
        assert_refused(&answer, 400, code, field, &body);
    }
    let huge = vec![b' '; 10 * 1024 * 1024];
    let answer = app.call_back_with(&payments::sign(PAYMENT_SECRET, &huge), huge).await;
    assert_refused(&answer, 413, "http.body_too_large", "", "10 MB");
    assert_nothing_written(&app).await;
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_comes_as_a_problem_when_asked() {
    let app = spawn_app().await;
    let path = format!("{ORDERS}/{}", Uuid::now_v7());
    let request =
        app.request(Method::GET, &path, "ann").header("Accept", "application/problem+json");
    let answer = app.send(request).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.body["status"], 404);
    app.finish(0).await;
}
