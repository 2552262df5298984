//! The sink accepts what is newer, and the same again from the same holder; and there is no other way to write.

use std::time::Duration;

use millrace_coordination::{
    Exempt, Fenced, FencedError, FencingToken, LeaseGuard, Leases, WritePath,
};
use millrace_resilience::{Class, Classify as _};
use millrace_runtime::Tasks;
use millrace_testkit::{Stack, wait_until};
use sqlx::{PgConnection, query, query_scalar};

use crate::harness::{Bench, LONG, PATIENCE};

const NAME: &str = "expire";

/// A guard whose renewal doesn't come in a test's time, so that it notices nothing, like a frozen process.
async fn guard(leases: &Leases) -> LeaseGuard {
    let lease = leases.acquire(NAME, LONG).await.unwrap().unwrap();
    lease.keep(&Tasks::new(), None)
}

async fn proof(guard: &LeaseGuard) -> Fenced {
    guard.run(async |fenced| fenced).await.unwrap()
}

async fn write(bench: &Bench, fenced: &Fenced) -> Result<(), FencedError> {
    let mut transaction = fenced.begin(&bench.app).await?;
    let seen = last_seen(&mut transaction).await;
    assert_eq!(seen, (fenced.token().as_i64(), fenced.holder().to_owned()));
    transaction.commit().await.unwrap();
    Ok(())
}

async fn last_seen(conn: &mut PgConnection) -> (i64, String) {
    let seen = sqlx::query_as("select fence, holder from lease_fence where name = $1").bind(NAME);
    seen.fetch_one(conn).await.unwrap()
}

fn refused(answer: &Result<(), FencedError>) -> bool {
    let refused = matches!(answer, Err(FencedError::Refused { lease: NAME, .. }));
    assert!(!refused || answer.as_ref().unwrap_err().class() == Class::Permanent);
    refused
}

#[tokio::test]
async fn a_holder_that_was_replaced_is_refused_and_the_new_one_is_not() {
    let bench = Bench::new().await;
    let old = guard(&bench.leases("ann")).await;
    let ann = proof(&old).await;
    write(&bench, &ann).await.unwrap();
    write(&bench, &ann).await.unwrap();

    bench.delete("lease:*").await;
    let new = guard(&bench.leases("ben")).await;
    let ben = proof(&new).await;
    write(&bench, &ann).await.unwrap();
    write(&bench, &ben).await.unwrap();
    assert!(refused(&write(&bench, &ann).await), "a holder that was frozen comes too late");
    write(&bench, &ben).await.unwrap();
}

#[tokio::test]
async fn an_equal_token_of_another_holder_is_refused() {
    let bench = Bench::new().await;
    let guard = guard(&bench.leases("ann")).await;
    let ann = proof(&guard).await;
    write(&bench, &ann).await.unwrap();
    query("update lease_fence set holder = 'ben'").execute(&bench.app).await.unwrap();
    assert!(refused(&write(&bench, &ann).await));
}

#[tokio::test]
async fn a_late_transaction_waits_for_the_newer_one_and_is_refused() {
    let bench = Bench::new().await;
    let old = guard(&bench.leases("ann")).await;
    let ann = proof(&old).await;
    write(&bench, &ann).await.unwrap();
    bench.delete("lease:*").await;
    let new = guard(&bench.leases("ben")).await;
    let newer = proof(&new).await.begin(&bench.app).await.unwrap();
    let (late, ()) = futures::join!(write(&bench, &ann), async { newer.commit().await.unwrap() });
    assert!(refused(&late));
}

#[tokio::test]
async fn a_rolled_back_write_leaves_the_fence_where_it_was() {
    let bench = Bench::new().await;
    let old = guard(&bench.leases("ann")).await;
    bench.delete("lease:*").await;
    let new = guard(&bench.leases("ben")).await;
    let newer = proof(&new).await.begin(&bench.app).await.unwrap();
    newer.rollback().await.unwrap();
    write(&bench, &proof(&old).await).await.unwrap();
}

/// A replica that lagged is promoted without a new replication id, or a counter is restored from an old copy:
/// Redis gives tokens again that were used. The sink notices, and the guard that was refused mends it.
#[tokio::test]
async fn after_a_refusal_the_guard_raises_the_incarnation_when_released_or_dropped() {
    let bench = Bench::new().await;
    let leases = bench.leases("ann");
    for dropped in [false, true] {
        let late = guard(&leases).await;
        let used = late.token().as_i64() + (5 << 32);
        let foreign = "insert into lease_fence (name, fence, holder) values ($1, $2, 'ben') \
             on conflict (name) do update set fence = excluded.fence, holder = 'ben'";
        query(foreign).bind(NAME).bind(used).execute(&bench.app).await.unwrap();
        assert!(refused(&write(&bench, &proof(&late).await).await));
        if dropped {
            drop(late);
        } else {
            late.release().await;
        }
        wait_until("a higher token is given", PATIENCE, || async {
            let lease = leases.acquire(NAME, LONG).await.unwrap();
            let token = lease.as_ref().map(millrace_coordination::Lease::token);
            if let Some(lease) = lease {
                lease.release().await.unwrap();
            }
            if token > Some(FencingToken::from_i64(used)) { Ok(()) } else { Err(token) }
        })
        .await;
        let next = guard(&leases).await;
        write(&bench, &proof(&next).await).await.unwrap();
        next.release().await;
    }
}

#[tokio::test]
async fn a_wiped_redis_gives_the_lease_twice_and_the_sink_takes_only_the_newer() {
    let stack = Stack::private().await.unwrap();
    let bench = Bench::on(&stack).await;
    let old = guard(&bench.leases("ann")).await;
    let ann = proof(&old).await;
    write(&bench, &ann).await.unwrap();
    stack.redis().flush().await.unwrap();
    let new = guard(&bench.leases("ben")).await;
    assert!(new.token() > old.token());
    write(&bench, &proof(&new).await).await.unwrap();
    assert!(refused(&write(&bench, &ann).await));
}

#[tokio::test]
async fn under_a_lost_lease_no_transaction_begins() {
    let bench = Bench::new().await;
    let tasks = Tasks::new();
    let short = Duration::from_millis(300);
    let lease = bench.leases("ann").acquire(NAME, short).await.unwrap().unwrap();
    let guard = lease.keep(&tasks, Some(LONG));
    let fenced = proof(&guard).await;
    bench.delete("lease:*").await;
    guard.lost().cancelled().await;
    let error = fenced.begin(&bench.app).await.unwrap_err();
    assert!(matches!(error, FencedError::Lost { lease: NAME }), "{error}");
    assert_eq!(error.class(), Class::Transient);
}

#[tokio::test]
async fn an_exempt_write_passes_without_a_token_and_is_counted() {
    const OTHER: &str = "exempt-from-fence";
    let bench = Bench::new().await;
    let path = WritePath::Exempt(Exempt::new(OTHER, "the test's own condition"));
    for writes in 1..=2 {
        let transaction = path.begin(&bench.app).await.unwrap();
        transaction.commit().await.unwrap();
        let metrics = millrace_telemetry::metrics::render();
        let counted = metrics.lines().any(|line| {
            line.starts_with("lease_exempt_writes_total{")
                && line.contains(OTHER)
                && line.ends_with(&format!(" {writes}"))
        });
        assert!(counted, "{metrics}");
    }
    let tokens: i64 =
        query_scalar("select count(*) from lease_fence").fetch_one(&bench.app).await.unwrap();
    assert_eq!(tokens, 0);
}
