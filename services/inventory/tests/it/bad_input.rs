//! Everything a caller can get wrong: a 4xx in the reply form, the field named, nothing written.

use millrace_testkit::{Issuer, TokenClaims};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{TestApp, spawn_app};

/// One bad request and what it must be told: status, code, field (empty when no field is to blame).
struct Bad {
    name: &'static str,
    method: Method,
    path: String,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
    answer: (u16, &'static str, &'static str),
}

const KEY: (&str, &[u8]) = ("Idempotency-Key", b"k");
const JSON: (&str, &[u8]) = ("Content-Type", b"application/json");
const PRODUCT: &str = "/api/v1/products/A";
const ADJUST: &str = "/api/v1/stock/A/adjustments";

fn put(name: &'static str, body: &[u8], answer: (u16, &'static str, &'static str)) -> Bad {
    let headers = vec![(JSON.0, JSON.1.to_vec())];
    Bad { name, method: Method::PUT, path: PRODUCT.into(), headers, body: body.to_vec(), answer }
}

fn adjust(name: &'static str, body: &[u8], answer: (u16, &'static str, &'static str)) -> Bad {
    let headers = vec![(JSON.0, JSON.1.to_vec()), (KEY.0, KEY.1.to_vec())];
    Bad { name, method: Method::POST, path: ADJUST.into(), headers, body: body.to_vec(), answer }
}

fn get(name: &'static str, path: &str, answer: (u16, &'static str, &'static str)) -> Bad {
    Bad { name, method: Method::GET, path: path.into(), headers: vec![], body: vec![], answer }
}

fn with(mut bad: Bad, header: &'static str, value: &[u8]) -> Bad {
    bad.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(header));
    bad.headers.push((header, value.to_vec()));
    bad
}

fn without(mut bad: Bad, header: &str) -> Bad {
    bad.headers.retain(|(name, _)| !name.eq_ignore_ascii_case(header));
    bad
}

/// A good product with one field replaced by JSON text, or left out when the text is empty.
fn product(field: &str, value: &str) -> Vec<u8> {
    let good =
        [("name", "\"n\""), ("price_minor", "1"), ("currency", "\"EUR\""), ("sellable", "true")];
    let mut fields: Vec<(&str, &str)> =
        good.into_iter().filter(|(name, _)| *name != field).collect();
    if !value.is_empty() {
        fields.push((field, value));
    }
    let texts: Vec<String> =
        fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", texts.join(",")).into_bytes()
}

/// The refusal that names a field.
fn names(field: &'static str) -> (u16, &'static str, &'static str) {
    (400, "http.invalid_request", field)
}

fn product_bodies() -> Vec<Bad> {
    let malformed = (400, "http.malformed_json", "");
    let long = format!("\"{}\"", "x".repeat(201));
    let huge = i64::MAX.to_string();
    let big = vec![b' '; 10 * 1024 * 1024];
    vec![
        put("no body", b"", malformed),
        put("torn json", b"{\"name\":", malformed),
        put("bad utf-8", b"{\"name\":\"\xff\"}", malformed),
        put("array", b"[]", names("")),
        put("unknown field", &product("colour", "1"), names("colour")),
        put("missing field", &product("name", ""), names("name")),
        put("price as text", &product("price_minor", "\"1\""), names("price_minor")),
        put("price with fraction", &product("price_minor", "1.5"), names("price_minor")),
        put("negative price", &product("price_minor", "-1"), names("price_minor")),
        put("huge price", &product("price_minor", &huge), names("price_minor")),
        put(
            "price beyond i64",
            &product("price_minor", "99999999999999999999"),
            names("price_minor"),
        ),
        put("small letters", &product("currency", "\"eur\""), names("currency")),
        put("empty name", &product("name", "\" \""), names("name")),
        put("long name", &product("name", &long), names("name")),
        put("control character", &product("name", "\"a\\u0000b\""), names("name")),
        put("negative version", &product("expected_version", "-1"), names("expected_version")),
        put("10 MB", &big, (413, "http.body_too_large", "")),
    ]
}

fn product_headers() -> Vec<Bad> {
    let good = product("sellable", "true");
    let version_1 = product("expected_version", "1");
    let no_type = (415, "http.unsupported_media_type", "content-type");
    vec![
        with(put("torn tag", &good, names("if-match")), "If-Match", b"3"),
        with(put("two versions", &version_1, names("expected_version")), "If-Match", b"\"2\""),
        without(put("no content type", &good, no_type), "Content-Type"),
    ]
}

fn questions() -> Vec<Bad> {
    let list = format!("/api/v1/products?sku={}", vec!["a"; 101].join(","));
    vec![
        get("bad sku", "/api/v1/products/a%20b", names("sku")),
        get("bad utf-8 in the path", "/api/v1/products/%ff", names("sku")),
        get("no list", "/api/v1/products", names("sku")),
        get("empty list", "/api/v1/products?sku=", names("sku[0]")),
        get("bad sku in the list", "/api/v1/products?sku=a,b%2Fc", names("sku[1]")),
        get("unknown parameter", "/api/v1/products?sku=a&page=2", names("page")),
        get("101 skus", &list, names("sku")),
    ]
}

fn adjustments() -> Vec<Bad> {
    let body =
        |change: &str| format!("{{\"change\":{change},\"reason\":\"received\"}}").into_bytes();
    let good = body("1");
    let stolen = b"{\"change\":1,\"reason\":\"stolen\"}";
    let extra = b"{\"change\":1,\"reason\":\"received\",\"by\":\"x\"}";
    let missing = (400, "idempotency.key_missing", "idempotency-key");
    let malformed = (400, "idempotency.key_malformed", "idempotency-key");
    vec![
        adjust("zero", &body("0"), names("change")),
        adjust("huge", &body("1000000001"), names("change")),
        adjust("hugely negative", &body("-9223372036854775808"), names("change")),
        adjust("beyond i64", &body("9223372036854775808"), names("change")),
        adjust("text", &body("\"1\""), names("change")),
        adjust("unknown reason", stolen, names("reason")),
        adjust("unknown field", extra, names("by")),
        without(adjust("no key", &good, missing), KEY.0),
        with(adjust("empty key", &good, malformed), KEY.0, b""),
        with(adjust("key not ASCII", &good, malformed), KEY.0, b"\xc3\xa4"),
        with(adjust("long key", &good, malformed), KEY.0, &[b'k'; 129]),
    ]
}

async fn send(app: &TestApp<'_>, bad: Bad) {
    let mut request = app.admin.request(bad.method, &bad.path);
    for (name, value) in bad.headers {
        request = request.header(name, value);
    }
    let reply = app
        .admin
        .send(request.body(bad.body))
        .await
        .unwrap_or_else(|error| panic!("{}: {error:#}", bad.name));
    let (status, code, field) = bad.answer;
    let name = bad.name;
    assert_eq!(
        (reply.status.as_u16(), reply.code.as_str()),
        (status, code),
        "{name}: {}",
        reply.body
    );
    if !field.is_empty() {
        let fields = reply.data()["fields"].as_array().cloned().unwrap_or_default();
        let named = fields.iter().any(|found| found["field"] == field);
        assert!(named, "{name}: `{field}` is not named in {}", reply.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_told_by_field_and_writes_nothing() {
    let app = spawn_app().await;
    for bad in product_bodies().into_iter().chain(product_headers()).chain(questions()) {
        send(&app, bad).await;
    }
    assert_eq!(app.count("select count(*) from products").await, 0);
    app.stock_up("A", 0).await;
    for bad in adjustments() {
        send(&app, bad).await;
    }
    assert_eq!(app.stock("A").await.pieces(), (0, 0, 0));
    assert_eq!(app.count("select count(*) from idempotency").await, 0);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_wrong_fields_are_told_at_once() {
    let app = spawn_app().await;
    let body = json!({"name": "", "price_minor": -1, "currency": "x", "sellable": true});
    let request = app.admin.request(Method::PUT, PRODUCT).json(&body);
    let reply = app.admin.send(request).await.unwrap();
    let fields: Vec<&Value> =
        reply.data()["fields"].as_array().unwrap().iter().map(|found| &found["field"]).collect();
    assert_eq!(fields, [&json!("name"), &json!("price_minor"), &json!("currency")]);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_refused() {
    let app = spawn_app().await;
    let stranger = Issuer::generate().expect("keys");
    let token = |issuer: &Issuer, claims: TokenClaims| issuer.token(&claims).expect("a token");
    let known = Issuer::shared();
    let customer = || TokenClaims::customer("ann");
    let table = [
        ("forged", token(&stranger, TokenClaims::admin()), 401, "auth.invalid_token"),
        (
            "expired",
            token(known, TokenClaims { expires_in: -60, ..TokenClaims::admin() }),
            401,
            "auth.expired_token",
        ),
        (
            "other issuer",
            token(known, TokenClaims { issuer: "x".into(), ..TokenClaims::admin() }),
            401,
            "auth.invalid_token",
        ),
        ("no admin", token(known, customer()), 403, "auth.forbidden"),
    ];
    for (name, token, status, code) in table {
        let api = app.admin.with_token(token);
        let body = json!({"name": "n", "price_minor": 1, "currency": "EUR", "sellable": true});
        let put = api.send(api.request(Method::PUT, PRODUCT).json(&body)).await.unwrap();
        assert_eq!((put.status.as_u16(), put.code.as_str()), (status, code), "{name}");
        let change = json!({"change": 1, "reason": "received"});
        let request =
            api.request(Method::POST, ADJUST).header("Idempotency-Key", "k").json(&change);
        let adjusted = api.send(request).await.unwrap();
        assert_eq!((adjusted.status.as_u16(), adjusted.code.as_str()), (status, code), "{name}");
    }
    let anonymous = reqwest::get(format!("{}{PRODUCT}", app.base())).await.unwrap();
    assert_eq!(anonymous.status().as_u16(), 401);
    let body: Value = anonymous.json().await.unwrap();
    assert_eq!(body["code"], "auth.missing_token");
    assert_eq!(app.count("select count(*) from products").await, 0);
    app.finish().await;
}
