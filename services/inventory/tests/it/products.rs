//! Products are created, changed and looked up.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use millrace_testkit::api::Reply;

use crate::harness::{TestApp, spawn_app};

fn tea(price_minor: i64) -> Value {
    json!({"name": "Green tea", "price_minor": price_minor, "currency": "EUR", "sellable": true})
}

async fn put(app: &TestApp<'_>, sku: &str, body: &Value) -> Reply {
    let request = app.admin.request(Method::PUT, &format!("/api/v1/products/{sku}"));
    app.admin.send(request.json(body)).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_is_created_changed_and_left_alone_when_it_is_as_asked() {
    let app = spawn_app().await;
    let created = put(&app, "TEA-1", &tea(100)).await;
    assert_eq!(created.status, StatusCode::CREATED);
    assert_eq!(
        created.data(),
        &json!({"sku": "TEA-1", "name": "Green tea", "price_minor": 100, "currency": "EUR",
                "sellable": true, "free": 0, "row_version": 1})
    );
    let changed = put(&app, "TEA-1", &tea(120)).await;
    assert_eq!((changed.status, &changed.data()["row_version"]), (StatusCode::OK, &json!(2)));
    let same = put(&app, "TEA-1", &tea(120)).await;
    assert_eq!((same.status, &same.data()["row_version"]), (StatusCode::OK, &json!(2)));

    let told = app.records("product-changes").await;
    let prices: Vec<Value> =
        told.iter().map(|record| record.json()["payload"]["price_minor"].clone()).collect();
    assert_eq!(prices, [json!(100), json!(120)]);
    assert_eq!(
        told[1].json()["payload"],
        json!({"sku": "TEA-1", "name": "Green tea", "price_minor": 120, "currency": "EUR",
               "sellable": true, "row_version": 2})
    );
    assert_eq!(app.audited("product/TEA-1").await, ["product.create done", "product.change done"]);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_an_old_version_is_refused_and_audited() {
    let app = spawn_app().await;
    let none_yet = json!({"expected_version": 0});
    let mut body = tea(100);
    body["expected_version"] = none_yet["expected_version"].clone();
    assert_eq!(put(&app, "TEA-1", &body).await.status, StatusCode::CREATED);
    let again = put(&app, "TEA-1", &body).await;
    assert_eq!(
        (again.status, again.code.as_str()),
        (StatusCode::CONFLICT, "product.version_conflict")
    );
    assert_eq!(again.data(), &json!({"expected_version": 0, "row_version": 1}));

    let with_tag = |tag: &'static str, price: i64| {
        let request = app.admin.request(Method::PUT, "/api/v1/products/TEA-1");
        app.admin.send(request.header("If-Match", tag).json(&tea(price)))
    };
    let read = app.customer.get("/api/v1/products/TEA-1").await.unwrap();
    assert_eq!(read.headers["etag"], "\"1\"");
    let first = with_tag("\"1\"", 110).await.unwrap();
    assert_eq!(first.status, StatusCode::OK);
    assert_eq!(first.headers["etag"], "\"2\"");
    let second = with_tag("\"1\"", 120).await.unwrap();
    assert_eq!(second.code, "product.version_conflict");
    assert_eq!(
        app.audited("product/TEA-1").await,
        [
            "product.create done",
            "product.change refused",
            "product.change done",
            "product.change refused"
        ]
    );
    assert_eq!(app.records("product-changes").await.len(), 2);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_created_by_several_at_once_is_created_once() {
    let app = spawn_app().await;
    let body = tea(100);
    let replies = futures::future::join_all((0..8).map(|_| put(&app, "TEA-1", &body))).await;
    let created = replies.iter().filter(|reply| reply.status == StatusCode::CREATED).count();
    assert_eq!(created, 1);
    assert!(replies.iter().all(|reply| reply.status.is_success()));
    assert_eq!(app.records("product-changes").await.len(), 1);
    app.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_caller_sees_price_and_free_pieces_and_which_skus_are_unknown() {
    let app = spawn_app().await;
    app.stock_up("B", 7).await;
    app.stock_up("A", 3).await;
    let one = app.customer.get("/api/v1/products/B").await.unwrap();
    assert_eq!((one.status, &one.data()["free"]), (StatusCode::OK, &json!(7)));
    let missing = app.customer.get("/api/v1/products/NO-SUCH").await.unwrap();
    assert_eq!(
        (missing.status, missing.code.as_str()),
        (StatusCode::NOT_FOUND, "product.not_found")
    );

    let list = app.customer.get("/api/v1/products?sku=B,NO-SUCH,A,B").await.unwrap();
    let skus: Vec<&Value> =
        list.data()["products"].as_array().unwrap().iter().map(|product| &product["sku"]).collect();
    assert_eq!(skus, [&json!("A"), &json!("B")]);
    assert_eq!(list.data()["unknown"], json!(["NO-SUCH"]));
    let hundred: Vec<String> = (0..100).map(|index| format!("S{index}")).collect();
    let all =
        app.customer.get(&format!("/api/v1/products?sku={}", hundred.join(","))).await.unwrap();
    assert_eq!(all.data()["unknown"].as_array().map(Vec::len), Some(100));
    app.finish().await;
}
