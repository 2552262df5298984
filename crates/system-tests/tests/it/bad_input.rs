//! Bad input through the front door: a 4xx in the reply form that names the field, nothing written, no ERROR line.

use millrace_system_tests::System;
use millrace_testkit::tokens::{Issuer, TokenClaims};
use millrace_testkit::{api::Reply, payments};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn bad_orders_are_refused_with_the_field_named_and_nothing_is_written() {
    let system = System::start().await;
    system.stock("TEA", 100, 10).await;
    let lines = |lines: Value| json!({ "lines": lines }).to_string().into_bytes();
    let line = |quantity: Value| lines(json!([{"sku": "TEA", "quantity": quantity}]));
    let many: Vec<Value> =
        (0..51).map(|n| json!({"sku": format!("S{n}"), "quantity": 1})).collect();
    let table: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("malformed JSON", b"{\"lines\": [".to_vec(), 400, ""),
        ("bad UTF-8", b"{\"lines\": \"\xff\"}".to_vec(), 400, ""),
        ("unknown field", json!({"lines": [], "price": 1}).to_string().into_bytes(), 400, "price"),
        ("wrong type", line(json!("two")), 400, "lines[0].quantity"),
        ("zero", line(json!(0)), 400, "lines[0].quantity"),
        ("negative", line(json!(-1)), 400, "lines[0].quantity"),
        ("huge", line(json!(4_000_000_000_u64)), 400, "lines[0].quantity"),
        ("beyond numbers", line(json!(1e300)), 400, "lines[0].quantity"),
        ("no lines", lines(json!([])), 400, "lines"),
        ("51 lines", lines(json!(many)), 400, "lines"),
        ("unknown SKU", lines(json!([{"sku": "NONE", "quantity": 1}])), 422, "lines[0].sku"),
        ("SKU with a slash", lines(json!([{"sku": "a/b", "quantity": 1}])), 400, "lines[0].sku"),
    ];
    for (what, body, status, field) in table {
        let request = system
            .api
            .request(Method::POST, "/api/v1/orders")
            .header("Idempotency-Key", "bad-input")
            .header("Content-Type", "application/json")
            .body(body);
        let reply = system.api.send(request).await.unwrap();
        refused(what, &reply, status);
        assert!(reply.body.to_string().contains(field), "{what} names {field}: {}", reply.body);
    }
    let big = system
        .api
        .request(Method::POST, "/api/v1/orders")
        .header("Content-Type", "application/json")
        .header("Idempotency-Key", "big")
        .body(vec![b' '; 10 * 1024 * 1024]);
    // The answer may come while the body is still being sent; then the connection ends instead.
    if let Ok(reply) = system.api.send(big).await {
        refused("10 MB", &reply, 413);
    }
    let body = json!({"lines": [{"sku": "TEA", "quantity": 1}]});
    let no_key = system.api.post("/api/v1/orders", &body).await.unwrap();
    refused("no key", &no_key, 400);
    assert_eq!(no_key.code, "idempotency.key_missing");
    nothing_happened(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_callers_are_refused_and_learn_nothing() {
    let system = System::start().await;
    system.stock("TEA", 100, 10).await;
    let order = system.place(&[("TEA", 1)]).await;
    let issuer = Issuer::shared();
    let stranger = Issuer::generate().unwrap();
    let good = TokenClaims::customer("customer-1");
    let expired = TokenClaims { expires_in: -600, valid_from: -1200, ..good.clone() };
    let early = TokenClaims { valid_from: 600, ..good.clone() };
    let audience = TokenClaims { audience: "somebody-else".to_owned(), ..good.clone() };
    let from = TokenClaims { issuer: "https://evil.example".to_owned(), ..good.clone() };
    let path = format!("/api/v1/orders/{order}");
    for (what, token) in [
        ("garbage", "abc.def.ghi".to_owned()),
        ("forged", stranger.token(&good).unwrap()),
        ("expired", issuer.token(&expired).unwrap()),
        ("not valid yet", issuer.token(&early).unwrap()),
        ("other audience", issuer.token(&audience).unwrap()),
        ("other issuer", issuer.token(&from).unwrap()),
    ] {
        for base in [system.gateway.url(), system.order.url()] {
            let reply = system.api.at(base).with_token(token.clone()).get(&path).await.unwrap();
            refused(what, &reply, 401);
        }
    }
    let other = system.api.with_token(issuer.token(&TokenClaims::customer("customer-2")).unwrap());
    let theirs = other.get(&path).await.unwrap();
    refused("another caller's order", &theirs, 404);
    assert_eq!(theirs.code, "order.not_found");
    refused("another caller's cancel", &other.cancel(order).await.unwrap(), 404);
    refused("unknown route", &system.api.get("/api/v1/nothing").await.unwrap(), 404);
    refused("not an admin", &system.api.get("/api/v1/audit/records").await.unwrap(), 403);
    let wait = system.wait_for(order, "awaiting_payment").await;
    assert_eq!(wait["status"], "awaiting_payment");
    no_error_lines(&system).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_callbacks_are_refused() {
    let system = System::start().await;
    system.stock("TEA", 100, 10).await;
    let order = system.place(&[("TEA", 1)]).await;
    let order = system.wait_for(order, "awaiting_payment").await;
    let result = millrace_testkit::api::success_for(&order);
    let forged = system.api.payment_result("not the secret", &result).await.unwrap();
    refused("bad HMAC", &forged, 401);
    assert_eq!(forged.code, "payment.bad_signature");
    let body = result.to_string();
    let mut request = reqwest::Client::new()
        .post(format!("{}/api/v1/payments/results", system.gateway.url()))
        .header("Content-Type", "application/json");
    for (name, value) in
        payments::sign_at(millrace_system_tests::PAYMENT_SECRET, body.as_bytes(), 1_000_000)
    {
        request = request.header(name, value);
    }
    let old = system.api.send(request.body(body)).await.unwrap();
    refused("outside the window", &old, 401);
    assert_eq!(old.code, "payment.outside_window");
    let mut stranger = result.clone();
    stranger["order_id"] = json!("00000000-0000-7000-8000-000000000000");
    refused("unknown order", &system.payment_result(&stranger).await, 404);
    let payments: i64 = sqlx::query_scalar("select count(*) from payments")
        .fetch_one(&system.database("order"))
        .await
        .unwrap();
    assert_eq!(payments, 0);
    no_error_lines(&system).await;
}

fn refused(what: &str, reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{what}: {}", reply.body);
    assert!(!reply.code.is_empty() && reply.code != "ok", "{what} has a code: {}", reply.body);
    assert!(reply.body["message"].is_string(), "{what} has a message: {}", reply.body);
}

async fn nothing_happened(system: &System) {
    let written: i64 = sqlx::query_scalar(
        // What the scheduler sends comes by the clock, not by a request.
        "select (select count(*) from orders) + (select count(*) from idempotency)
             + (select count(*) from outbox where aggregatetype <> 'task' and aggregateid not like 'task/%')",
    )
    .fetch_one(&system.database("order"))
    .await
    .unwrap();
    assert_eq!(written, 0, "nothing was written");
    no_error_lines(system).await;
}

async fn no_error_lines(system: &System) {
    for service in [&system.gateway, &system.order, &system.inventory] {
        let output = service.output().await;
        let error = output.lines().find(|line| line.contains("\"level\":\"ERROR\""));
        assert_eq!(error, None, "bad input is nobody's emergency");
    }
}
