//! Who may read the trail.

use millrace_testkit::tokens::{self, Issuer, TokenClaims};

use crate::harness::spawn_app;

#[tokio::test(flavor = "multi_thread")]
async fn only_an_administrator_reads_the_trail() {
    let app = spawn_app().await;
    let expired = TokenClaims { expires_in: -600, ..TokenClaims::admin() };
    let expired = Issuer::shared().token(&expired).unwrap();
    let forged = Issuer::generate().unwrap().token(&TokenClaims::admin()).unwrap();
    let customer = tokens::customer_token("ann");
    for (token, status) in [
        (None, 401),
        (Some(""), 401),
        (Some("no.token.atall"), 401),
        (Some(expired.as_str()), 401),
        (Some(forged.as_str()), 401),
        (Some(customer.as_str()), 403),
    ] {
        let answer = app.search_as(token, "actor=ann").await;
        assert_eq!(answer.status.as_u16(), status, "{token:?}: {}", answer.body);
        assert!(answer.code().starts_with("auth."), "{}", answer.body);
    }
    app.finish(0).await;
}
