//! Tokens: what is let in, and everything that isn't.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use millrace_runtime::Clock;
use millrace_testkit::tokens::{AUDIENCE, ISSUER, SigningKey};
use millrace_testkit::{Issuer, TokenClaims};
use reqwest::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use serde_json::{Value, json};

use crate::harness::{App, answer, lines_of, new_trace};

fn good_claims() -> Value {
    let now = Clock::system().now_ms() / 1000;
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "exp": now + 600, "nbf": now - 5, "roles": ["admin"] })
}

/// A token with a header of the forger's choice and no valid signature.
fn unsigned(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

/// The confusion attack: HMAC with the public key's bytes as the secret.
fn signed_with_public_key(app: &App, kid: &str) -> String {
    let jwks = app.issuer.jwks().unwrap();
    let key =
        jwks["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap().clone();
    let public = key["x"].as_str().or(key["n"].as_str()).unwrap();
    let secret = URL_SAFE_NO_PAD.decode(public).unwrap();
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(kid.to_owned());
    jsonwebtoken::encode(&header, &good_claims(), &EncodingKey::from_secret(&secret)).unwrap()
}

fn kid_of(token: &str) -> String {
    jsonwebtoken::decode_header(token).unwrap().kid.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn good_tokens_of_both_algorithms_say_who_asks() {
    let app = App::start();
    for key in [SigningKey::Ed25519, SigningKey::Rsa] {
        let claims = TokenClaims { key, tenant: Some("acme".to_owned()), ..TokenClaims::default() };
        let token = app.issuer.token(&claims).unwrap();
        let (status, reply) = answer(app.get("/me").bearer_auth(&token)).await;
        assert_eq!(status, 200, "{key:?}: {reply}");
        assert_eq!(reply["data"], json!({ "subject": "customer-1", "tenant": "acme" }));
    }
    let callers: Vec<_> = app.records.all().into_iter().map(|record| record.caller).collect();
    assert_eq!(callers, vec![Some("customer-1".to_owned()); 2]);
}

const INVALID: &str = "auth.invalid_token";

/// Tokens that the issuer signed, with one claim that is wrong.
fn wrong_claims(app: &App) -> Vec<(&'static str, String, &'static str)> {
    let token = |claims: TokenClaims| app.issuer.token(&claims).unwrap();
    let good = TokenClaims::default;
    vec![
        ("another audience", token(TokenClaims { audience: "other".into(), ..good() }), INVALID),
        ("another issuer", token(TokenClaims { issuer: "other".into(), ..good() }), INVALID),
        ("expired", token(TokenClaims { expires_in: -60, ..good() }), "auth.expired_token"),
        ("not yet", token(TokenClaims { valid_from: 600, ..good() }), INVALID),
        ("no subject", token(TokenClaims { subject: String::new(), ..good() }), INVALID),
    ]
}

/// Tokens that somebody else made.
fn forged(app: &App) -> Vec<(&'static str, String, &'static str)> {
    let good = app.issuer.token(&TokenClaims::default()).unwrap();
    let rsa = TokenClaims { key: SigningKey::Rsa, ..TokenClaims::default() };
    let (kid, rsa_kid) = (kid_of(&good), kid_of(&app.issuer.token(&rsa).unwrap()));
    let (head, rest) = good.split_once('.').unwrap();
    let signature = rest.split_once('.').unwrap().1;
    let changed =
        format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(good_claims().to_string()));
    let claims = good_claims();
    let none = unsigned(&json!({"alg":"none","typ":"JWT","kid":kid}), &claims, "");
    let other_algorithm = unsigned(&json!({"alg":"RS256","kid":kid}), &claims, signature);
    let no_kid = unsigned(&json!({"alg":"EdDSA"}), &claims, signature);
    let stranger = Issuer::generate().unwrap().token(&TokenClaims::default()).unwrap();
    vec![
        ("changed", changed, INVALID),
        ("unknown key", stranger, INVALID),
        ("alg none", none, INVALID),
        ("HS256 with Ed25519's public key", signed_with_public_key(app, &kid), INVALID),
        ("HS256 with RSA's public key", signed_with_public_key(app, &rsa_kid), INVALID),
        ("no kid", no_kid, INVALID),
        ("another key's algorithm", other_algorithm, INVALID),
        ("rubbish", "a.b.c".to_owned(), INVALID),
        ("too long", "x".repeat(3900), INVALID),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_token_is_refused() {
    let app = App::start();
    for (name, token, code) in wrong_claims(&app).into_iter().chain(forged(&app)) {
        let (traceparent, trace_id) = new_trace();
        let request = app.get("/me").bearer_auth(token).header("traceparent", traceparent);
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 401, "{name}");
        assert_eq!(
            response.headers()[WWW_AUTHENTICATE],
            "Bearer error=\"invalid_token\"",
            "{name}"
        );
        let reply: Value = response.json().await.unwrap();
        assert_eq!(reply["code"], code, "{name}: {reply}");
        assert!(lines_of(&trace_id).iter().all(|line| line["level"] == "INFO"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_token_is_told_from_a_bad_one() {
    let app = App::start();
    for header in [None, Some("Basic YTpi"), Some("Bearer"), Some("Bearer ")] {
        let mut request = app.get("/me");
        if let Some(header) = header {
            request = request.header(AUTHORIZATION, header);
        }
        let (status, reply) = answer(request).await;
        assert_eq!(
            (status, reply["code"].as_str()),
            (401, Some("auth.missing_token")),
            "{header:?}"
        );
    }
    let twice = app.get("/me").header(AUTHORIZATION, "Bearer a").header(AUTHORIZATION, "Bearer b");
    assert_eq!(answer(twice).await.1["code"], "auth.invalid_token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_denies_by_default_and_a_role_opens_it() {
    let app = App::start();
    let customer = app.issuer.token(&TokenClaims::default()).unwrap();
    let admin = app.issuer.token(&TokenClaims::admin()).unwrap();
    let table = [
        ("/guarded/open", None, 401),
        ("/guarded/open", Some(&customer), 200),
        ("/guarded/admin/open", None, 401),
        ("/guarded/admin/open", Some(&customer), 403),
        ("/guarded/admin/open", Some(&admin), 200),
        ("/guarded/nothing", Some(&customer), 404),
        ("/boss", Some(&customer), 403),
        ("/boss", Some(&admin), 200),
    ];
    for (path, token, status) in table {
        let mut request = app.get(path);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let (got, reply) = answer(request).await;
        assert_eq!(got, status, "{path}: {reply}");
        assert!(reply["code"].is_string(), "{path}: {reply}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rotated_keys_are_found_and_a_broken_file_locks_nobody_out() {
    let app = App::start();
    let file = app.keys.path().join("jwks.json");
    let old = app.issuer.token(&TokenClaims::default()).unwrap();
    assert_eq!(answer(app.get("/me").bearer_auth(&old)).await.0, 200);

    std::fs::write(&file, "not a key set").unwrap();
    assert_eq!(answer(app.get("/me").bearer_auth(&old)).await.0, 200);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(answer(app.get("/me").bearer_auth(&old)).await.0, 200);

    let next = Issuer::generate().unwrap();
    let new = next.token(&TokenClaims::default()).unwrap();
    assert_eq!(answer(app.get("/me").bearer_auth(&new)).await.0, 401);
    next.write_jwks(&file).unwrap();
    millrace_testkit::wait_until(
        "the new key is known",
        std::time::Duration::from_secs(5),
        || async { answer(app.get("/me").bearer_auth(&new)).await.0 == 200 },
    )
    .await;
    assert_eq!(answer(app.get("/me").bearer_auth(&old)).await.0, 401);
}

#[test]
fn a_verifier_without_usable_keys_is_not_made() {
    let keys = tempfile::tempdir().unwrap();
    let settings = crate::harness::auth_settings(keys.path());
    assert!(millrace_http::Verifier::from_settings(&settings).is_err());
    let symmetric =
        json!({ "keys": [{ "kty": "oct", "kid": "a", "alg": "HS256", "k": "c2VjcmV0" }] });
    std::fs::write(&settings.jwks_file, symmetric.to_string()).unwrap();
    assert!(millrace_http::Verifier::from_settings(&settings).is_err());
}
