//! Who may pass.

use millrace_testkit::tokens::{Issuer, TokenClaims, admin_token, customer_token};
use reqwest::Method;

use crate::harness::{Reply, TestGateway, send, spawn};

const FOR_CALLERS: [(&str, &str); 6] = [
    ("POST", "/api/v1/orders"),
    ("GET", "/api/v1/orders"),
    ("GET", "/api/v1/orders/1"),
    ("POST", "/api/v1/orders/1/cancel"),
    ("GET", "/api/v1/products/tea"),
    ("GET", "/api/v1/products?sku=tea"),
];
const FOR_ADMINS: [(&str, &str); 4] = [
    ("PUT", "/api/v1/products/tea"),
    ("POST", "/api/v1/stock/tea/adjustments"),
    ("GET", "/api/v1/audit/records"),
    ("GET", "/api/v1/logs"),
];

async fn ask(gateway: &TestGateway, (method, path): (&str, &str), token: Option<&str>) -> Reply {
    let mut request = gateway.anonymous(method.parse().unwrap(), path);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    send(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_token_nothing_reaches_an_upstream() {
    let gateway = spawn().await;
    let sign = |claims: &TokenClaims| Issuer::shared().token(claims).unwrap();
    let forged = Issuer::generate().unwrap().token(&TokenClaims::admin()).unwrap();
    let expired = sign(&TokenClaims { expires_in: -600, ..TokenClaims::admin() });
    let early = sign(&TokenClaims { valid_from: 600, ..TokenClaims::admin() });
    let elsewhere = sign(&TokenClaims { audience: "bank".to_owned(), ..TokenClaims::admin() });
    for route in FOR_CALLERS.into_iter().chain(FOR_ADMINS) {
        for (token, code) in [
            (None, "auth.missing_token"),
            (Some("nonsense"), "auth.invalid_token"),
            (Some(forged.as_str()), "auth.invalid_token"),
            (Some(early.as_str()), "auth.invalid_token"),
            (Some(elsewhere.as_str()), "auth.invalid_token"),
            (Some(expired.as_str()), "auth.expired_token"),
        ] {
            let reply = ask(&gateway, route, token).await;
            assert_eq!((reply.status, reply.code()), (401, code), "{route:?} {token:?}");
            assert!(reply.header("www-authenticate").starts_with("Bearer"), "{reply:?}");
        }
    }
    assert!(gateway.upstream.seen().is_empty());
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_route_wants_the_role() {
    let gateway = spawn().await;
    for route in FOR_ADMINS {
        let reply = ask(&gateway, route, Some(&customer_token("ann"))).await;
        assert_eq!((reply.status, reply.code()), (403, "auth.forbidden"), "{route:?}");
    }
    assert!(gateway.upstream.seen().is_empty());
    for route in FOR_ADMINS {
        assert_eq!(ask(&gateway, route, Some(&admin_token())).await.status, 200);
    }
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_forwarded_and_a_signed_callback_needs_none() {
    let gateway = spawn().await;
    let token = customer_token("ann");
    ask(&gateway, FOR_CALLERS[1], Some(&token)).await;
    let bearer = format!("Bearer {token}");
    assert_eq!(gateway.upstream.last().header("authorization"), Some(bearer.as_str()));
    let callback = gateway
        .anonymous(Method::POST, "/api/v1/payments/results")
        .header("x-payment-signature", "v1=00")
        .body("{}");
    assert_eq!(send(callback).await.status, 200);
    assert_eq!(gateway.upstream.last().header("x-payment-signature"), Some("v1=00"));
    gateway.finish().await;
}
