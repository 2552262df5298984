//! One key, one effect.

use std::time::Duration;

use futures::future::join_all;
use millrace_outbox::idempotency::{
    Claim, Fingerprint, IdempotencyKey, REPLY_TTL, claim, clean, find, gate, store_reply,
};
use millrace_outbox::idempotency_insert;

use crate::harness::Bench;

fn key() -> IdempotencyKey {
    IdempotencyKey::parse("\"k-1\"").unwrap()
}

fn body(text: &str) -> Fingerprint {
    Fingerprint::of("POST", "/walks", text.as_bytes())
}

/// One request: claims, works, stores its reply.
async fn request(bench: &Bench, caller: &str, fingerprint: Fingerprint, ttl: Duration) -> Claim {
    let mut transaction = bench.app.begin().await.unwrap();
    let claim = claim(&mut transaction, caller, &key(), &fingerprint, ttl).await.unwrap();
    if claim == Claim::New {
        sqlx::query("select pg_sleep(0.02)").execute(&mut *transaction).await.unwrap();
        store_reply(&mut transaction, caller, &key(), 202, "{\"id\":1}").await.unwrap();
    }
    transaction.commit().await.unwrap();
    claim
}

#[tokio::test]
async fn of_parallel_requests_with_one_key_exactly_one_is_new() {
    let bench = Bench::new().await;
    for round in 0..10 {
        let caller = format!("caller-{round}");
        let claims = join_all((0..8).map(|_| request(&bench, &caller, body("a"), REPLY_TTL))).await;
        let new = claims.iter().filter(|claim| **claim == Claim::New).count();
        assert_eq!(new, 1, "{claims:?}");
        let others = claims.iter().all(|claim| match claim {
            Claim::New | Claim::InFlight => true,
            Claim::Replay { status, body } => *status == 202 && body == "{\"id\":1}",
            Claim::Mismatch => false,
        });
        assert!(others, "{claims:?}");
    }
}

#[tokio::test]
async fn a_finished_key_replays_its_reply_and_refuses_another_body() {
    let bench = Bench::new().await;
    assert_eq!(request(&bench, "ann", body("a"), REPLY_TTL).await, Claim::New);
    let replay = Claim::Replay { status: 202, body: "{\"id\":1}".into() };
    assert_eq!(request(&bench, "ann", body("a"), REPLY_TTL).await, replay);
    assert_eq!(request(&bench, "ann", body("b"), REPLY_TTL).await, Claim::Mismatch);
    assert_eq!(request(&bench, "ben", body("b"), REPLY_TTL).await, Claim::New);
}

#[tokio::test]
async fn a_key_whose_work_was_rolled_back_is_new_again() {
    let bench = Bench::new().await;
    let mut transaction = bench.app.begin().await.unwrap();
    let first = claim(&mut transaction, "ann", &key(), &body("a"), REPLY_TTL).await.unwrap();
    assert_eq!(first, Claim::New);
    assert_eq!(request(&bench, "ann", body("a"), REPLY_TTL).await, Claim::InFlight);
    transaction.rollback().await.unwrap();
    assert_eq!(request(&bench, "ann", body("b"), REPLY_TTL).await, Claim::New);
}

#[tokio::test]
async fn an_expired_key_is_new_whatever_it_was_used_for_and_is_cleaned_away() {
    let bench = Bench::new().await;
    assert_eq!(request(&bench, "ann", body("a"), Duration::ZERO).await, Claim::New);
    assert_eq!(request(&bench, "ann", body("b"), Duration::ZERO).await, Claim::New);
    assert_eq!(request(&bench, "ben", body("b"), REPLY_TTL).await, Claim::New);
    let mut conn = bench.app.acquire().await.unwrap();
    assert_eq!(clean(&mut conn, 10).await.unwrap(), 1);
    assert_eq!(clean(&mut conn, 10).await.unwrap(), 0);
}

#[tokio::test]
async fn a_store_can_claim_and_reply_in_its_own_statement() {
    let bench = Bench::new().await;
    let intake = concat!(
        "with claimed as (",
        idempotency_insert!("$1", "$2", "$3", "$4", "$5", "$6"),
        ") select exists (select from claimed)"
    );
    for expected in [true, false] {
        let mut transaction = bench.app.begin().await.unwrap();
        assert!(gate(&mut transaction, "ann", &key()).await.unwrap());
        let claimed: bool = sqlx::query_scalar(intake)
            .bind("ann")
            .bind(key().as_str())
            .bind(body("a").as_bytes())
            .bind(202_i16)
            .bind("{}")
            .bind(REPLY_TTL.as_secs_f64())
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
        assert_eq!(claimed, expected);
        transaction.commit().await.unwrap();
    }
    let mut conn = bench.app.acquire().await.unwrap();
    let found = find(&mut conn, "ann", &key(), &body("a")).await.unwrap();
    assert_eq!(found, Claim::Replay { status: 202, body: "{}".into() });
}
