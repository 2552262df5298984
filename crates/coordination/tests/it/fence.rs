//! The sink accepts what is newer, and the same again from the same holder.

use millrace_coordination::{FencingToken, fence};

use crate::harness::{Bench, LONG};

const NAME: &str = "expire";

async fn check(bench: &Bench, token: FencingToken, holder: &str) -> bool {
    let mut conn = bench.app.acquire().await.unwrap();
    fence::check(&mut conn, NAME, token, holder).await.unwrap()
}

#[tokio::test]
async fn a_stale_token_is_refused_and_so_is_an_equal_one_from_someone_else() {
    let bench = Bench::new().await;
    let [one, two, three] = [1, 2, 3].map(|n| FencingToken::from_i64((7 << 32) + n));
    assert!(check(&bench, two, "ann").await);
    assert!(check(&bench, two, "ann").await, "the holder writes more than once");
    assert!(!check(&bench, two, "ben").await);
    assert!(!check(&bench, one, "ann").await);
    assert!(check(&bench, three, "ben").await);
    assert!(!check(&bench, two, "ann").await, "a holder that was frozen comes too late");
}

#[tokio::test]
async fn a_late_transaction_waits_for_the_newer_one_and_is_refused() {
    let bench = Bench::new().await;
    let [old, new] = [1, 2].map(FencingToken::from_i64);
    assert!(check(&bench, old, "ann").await);
    let mut newer = bench.app.begin().await.unwrap();
    assert!(fence::check(&mut newer, NAME, new, "ben").await.unwrap());
    let late = check(&bench, old, "ann");
    let (late, ()) = futures::join!(late, async { newer.commit().await.unwrap() });
    assert!(!late);
}

#[tokio::test]
async fn a_rolled_back_write_leaves_the_fence_where_it_was() {
    let bench = Bench::new().await;
    let [old, new] = [1, 2].map(FencingToken::from_i64);
    let mut newer = bench.app.begin().await.unwrap();
    assert!(fence::check(&mut newer, NAME, new, "ben").await.unwrap());
    newer.rollback().await.unwrap();
    assert!(check(&bench, old, "ann").await);
}

/// A replica that lagged is promoted without a new replication id, or a counter is restored from an old copy:
/// Redis gives tokens again that were used. The sink notices, and raising the incarnation mends it.
#[tokio::test]
async fn after_a_refusal_a_raised_incarnation_is_accepted() {
    let bench = Bench::new().await;
    let leases = bench.leases("ann");
    let lease = leases.acquire(NAME, LONG).await.unwrap().unwrap();
    let used = FencingToken::from_i64(lease.token().as_i64() + (5 << 32));
    assert!(check(&bench, used, "ben").await);
    assert!(!check(&bench, lease.token(), lease.holder()).await);
    lease.release().await.unwrap();

    leases.raise_incarnation(NAME).await.unwrap();
    let lease = leases.acquire(NAME, LONG).await.unwrap().unwrap();
    assert!(check(&bench, lease.token(), lease.holder()).await);
}
