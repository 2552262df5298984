//! Who may see which order, and the pages of the list.

use millrace_testkit::tokens::{self, Issuer, TokenClaims};
use reqwest::{Method, StatusCode};
use uuid::Uuid;

use crate::harness::{TestApp, basket, spawn_app};

async fn as_caller(app: &TestApp, path: &str, token: &str) -> StatusCode {
    app.send(app.anonymous(Method::GET, path).bearer_auth(token)).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_customer_and_an_admin_see_an_order() {
    let app = spawn_app().await;
    let order = app.placed().await;
    let path = format!("/api/v1/orders/{order}");
    let same_name_elsewhere =
        TokenClaims { tenant: Some("acme".into()), ..TokenClaims::customer("ann") };
    let elsewhere = Issuer::shared().token(&same_name_elsewhere).unwrap();
    assert_eq!(as_caller(&app, &path, &tokens::customer_token("ann")).await, StatusCode::OK);
    assert_eq!(as_caller(&app, &path, &tokens::admin_token()).await, StatusCode::OK);
    assert_eq!(as_caller(&app, &path, &tokens::customer_token("bob")).await, StatusCode::NOT_FOUND);
    assert_eq!(as_caller(&app, &path, &elsewhere).await, StatusCode::NOT_FOUND);
    let foreign = app.get(&path, "bob").await;
    let unknown = app.get(&format!("/api/v1/orders/{}", Uuid::now_v7()), "bob").await;
    assert_eq!(foreign.code(), "order.not_found");
    assert_eq!(unknown.code(), "order.not_found");
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_has_every_own_order_once_newest_first() {
    let app = spawn_app().await;
    app.product("TEA-1", 1250, "EUR").await;
    let mut placed = Vec::new();
    for n in 0..7 {
        placed.push(
            app.place("ann", &format!("k{n}"), &basket("TEA-1", 1)).await.order().to_string(),
        );
    }
    app.place("bob", "k", &basket("TEA-1", 1)).await.order();
    placed.reverse();

    let mut listed: Vec<String> = Vec::new();
    let mut path = "/api/v1/orders?limit=3".to_owned();
    loop {
        let page = app.get(&path, "ann").await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        let orders = page.body["data"]["orders"].as_array().unwrap();
        assert!(orders.len() <= 3);
        listed.extend(orders.iter().map(|order| order["order_id"].as_str().unwrap().to_owned()));
        // A newer order doesn't move what is still to come.
        app.place("ann", &format!("later{}", listed.len()), &basket("TEA-1", 1)).await.order();
        match page.data("next_cursor") {
            "" => break,
            cursor => path = format!("/api/v1/orders?limit=3&cursor={cursor}"),
        }
    }
    assert_eq!(listed, placed);
    app.finish(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_serves_only_the_caller_it_was_given_to() {
    let app = spawn_app().await;
    app.product("TEA-1", 1250, "EUR").await;
    for n in 0..2 {
        app.place("ann", &format!("k{n}"), &basket("TEA-1", 1)).await.order();
    }
    let page = app.get("/api/v1/orders?limit=1", "ann").await;
    let cursor = page.data("next_cursor");
    let stolen = app.get(&format!("/api/v1/orders?cursor={cursor}"), "bob").await;
    assert_eq!(stolen.status, StatusCode::BAD_REQUEST);
    assert_eq!(stolen.code(), "search.bad_cursor");
    assert_eq!(stolen.fields(), ["cursor"]);
    app.finish(0).await;
}
