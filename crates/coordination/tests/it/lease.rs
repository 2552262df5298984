//! Exclusive, owner-only, and never with an old token.

use std::time::Duration;

use futures::future::join_all;
use millrace_coordination::{FencingToken, Lease, Leases, Redis};
use millrace_testkit::{Stack, ports, wait_until};
use redis::cmd;

use crate::harness::{Bench, LONG, PATIENCE, redis_settings};

const SHORT: Duration = Duration::from_millis(80);

#[tokio::test]
async fn a_held_lease_is_nobody_elses() {
    let bench = Bench::new().await;
    let holders: Vec<_> = (0..8).map(|holder| bench.leases(&format!("h{holder}"))).collect();
    let attempts = join_all(holders.iter().map(|leases| leases.acquire("expire", LONG))).await;
    let held: Vec<Lease> = attempts.into_iter().filter_map(Result::unwrap).collect();
    let [lease] = <[Lease; 1]>::try_from(held).unwrap();
    assert!(bench.leases("other").acquire("other-work", LONG).await.unwrap().is_some());

    assert!(lease.release().await.unwrap());
    let next = holders[0].acquire("expire", LONG).await.unwrap().unwrap();
    assert_eq!(next.holder(), "h0");
}

#[tokio::test]
async fn an_expired_lease_is_taken_over_with_a_higher_token_and_its_first_holder_can_do_nothing() {
    let bench = Bench::new().await;
    let (ann, ben) = (bench.leases("ann"), bench.leases("ben"));
    let mut old = ann.acquire("expire", SHORT).await.unwrap().unwrap();
    let new = taken_over(|| ben.acquire("expire", LONG)).await;
    assert!(new.token() > old.token(), "{} > {}", new.token(), old.token());

    assert!(!old.renew().await.unwrap());
    assert!(!old.release().await.unwrap());
    assert!(ann.acquire("expire", LONG).await.unwrap().is_none(), "ben's lease still stands");
    assert!(new.release().await.unwrap());
}

#[tokio::test]
async fn a_holder_can_not_release_its_own_later_acquisition_by_an_old_handle() {
    let bench = Bench::new().await;
    let leases = bench.leases("ann");
    let old = leases.acquire("expire", SHORT).await.unwrap().unwrap();
    let new = taken_over(|| leases.acquire("expire", LONG)).await;
    assert!(!old.release().await.unwrap());
    assert!(new.release().await.unwrap());
}

#[tokio::test]
async fn a_renewed_lease_outlives_its_first_time() {
    let bench = Bench::new().await;
    let ann = bench.leases("ann");
    let mut lease = ann.acquire("expire", LONG).await.unwrap().unwrap();
    let first_end = lease.ends();
    // Most of its first time has passed.
    let end_soon =
        "for _, k in ipairs(redis.call('keys', ARGV[1])) do redis.call('pexpire', k, ARGV[2]) end";
    let soon = LONG / 3;
    bench.eval(end_soon, &[&bench.redis.key("lease:*"), &soon.as_millis().to_string()]).await;
    assert!(ann.list().await.leases[0].held.as_ref().unwrap().remaining <= soon);
    assert!(lease.renew().await.unwrap());
    let remaining = ann.list().await.leases[0].held.as_ref().unwrap().remaining;
    assert!(remaining > soon, "{remaining:?}");
    assert!(bench.leases("ben").acquire("expire", SHORT).await.unwrap().is_none());
    assert!(lease.ends() > first_end);
}

#[tokio::test]
async fn tokens_rise_over_a_flush_a_restart_and_a_lost_counter() {
    let stack = Stack::private().await.unwrap();
    let bench = Bench::on(&stack).await;
    let leases = bench.leases("ann");
    let next = async || {
        let lease = wait_until("redis gives a lease", PATIENCE, || async {
            leases.acquire("expire", LONG).await.ok().flatten()
        });
        let lease = lease.await;
        let token = lease.token();
        drop(lease.release().await);
        token
    };
    let mut tokens = vec![next().await, next().await];
    assert_eq!(tokens[0].incarnation(), tokens[1].incarnation(), "nothing happened in between");

    stack.redis().flush().await.unwrap();
    tokens.push(next().await);

    stack.redis().stop().await.unwrap();
    stack.redis().start().await.unwrap();
    tokens.push(next().await);

    // The same keys under another replication id, which is what a replica has after its promotion.
    let [nobody] = ports::free().unwrap();
    for primary in [["127.0.0.1", &nobody.to_string()], ["no", "one"]] {
        let follow = bench.redis.run("REPLICAOF", async |connection| {
            cmd("REPLICAOF").arg(&primary).query_async::<()>(connection).await
        });
        follow.await.unwrap();
    }
    tokens.push(next().await);
    tokens.push(next().await);

    for pair in tokens.windows(2) {
        assert!(pair[1] > pair[0], "{tokens:?}");
    }
    let incarnations: Vec<u32> = tokens.iter().map(|token| token.incarnation()).collect();
    let distinct: std::collections::BTreeSet<u32> = incarnations.iter().copied().collect();
    assert_eq!(distinct.len(), 4, "one at first and one for each loss: {incarnations:?}");
}

#[tokio::test]
async fn a_sequence_that_was_set_back_never_lowers_an_incarnation() {
    let bench = Bench::new().await;
    let leases = bench.leases("ann");
    for _ in 0..3 {
        leases.raise_incarnation("expire").await.unwrap();
        leases.acquire("expire", LONG).await.unwrap().unwrap().release().await.unwrap();
    }
    let before = leases.acquire("expire", LONG).await.unwrap().unwrap();
    let token = before.token();
    before.release().await.unwrap();
    // As after restoring an old copy of the database.
    sqlx::query("select setval('lease_incarnation', 1)").execute(&bench.app).await.unwrap();
    leases.raise_incarnation("expire").await.unwrap();
    let after = leases.acquire("expire", LONG).await.unwrap().unwrap();
    assert!(after.token() > token, "{} > {token}", after.token());
}

#[tokio::test]
async fn without_redis_there_is_an_error_and_no_lease() {
    let stack = Stack::private().await.unwrap();
    let bench = Bench::on(&stack).await;
    let leases = Leases::new(bench.impatient(), bench.app.clone(), "ann");
    stack.redis().stop().await.unwrap();
    leases.acquire("expire", LONG).await.unwrap_err();
    stack.redis().start().await.unwrap();
    let lease = wait_until("redis gives a lease", PATIENCE, || async {
        leases.acquire("expire", LONG).await.ok().flatten()
    })
    .await;
    stack.redis().pause();
    lease.release().await.unwrap_err();
    stack.redis().resume();
}

#[tokio::test]
async fn many_leases_take_few_lasting_keys() {
    const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let bench = Bench::new().await;
    let leases = bench.leases("ann");
    for _ in 0..20 {
        for name in NAMES {
            let lease = leases.acquire(name, LONG).await.unwrap().unwrap();
            assert!(lease.release().await.unwrap());
        }
    }
    let keys = bench.keys("*").await;
    assert!(keys.len() <= NAMES.len(), "{keys:?}");
    assert!(keys.iter().all(|key| key.contains("fence:{")), "{keys:?}");
}

#[test]
fn a_token_survives_the_database() {
    let token = FencingToken::from_i64(i64::MAX);
    assert_eq!(FencingToken::from_i64(token.as_i64()), token);
    assert_eq!(FencingToken::from_i64(-1), FencingToken::from_i64(0));
}

async fn taken_over<F>(acquire: impl Fn() -> F) -> Lease
where
    F: Future<Output = Result<Option<Lease>, millrace_coordination::LeaseError>>,
{
    wait_until("the old lease ends", PATIENCE, || async { acquire().await.unwrap() }).await
}

/// A cluster's client repeats a command whose answer it missed, maybe at a server that was promoted meanwhile.
#[tokio::test]
async fn an_incarnation_is_taken_up_only_by_the_server_that_it_was_drawn_for() {
    let bench = Bench::new().await;
    let leases = bench.leases("ann");
    let first = leases.acquire("expire", LONG).await.unwrap().unwrap();
    let token = first.token();
    first.release().await.unwrap();
    let script =
        concat!(include_str!("../../src/lua/queue.lua"), include_str!("../../src/lua/acquire.lua"));
    let fence = bench.keys("fence:*").await.remove(0);
    let slot = &fence[fence.find('{').unwrap()..];
    let of = |kind: &str| bench.redis.key(&format!("{kind}:{slot}:expire"));
    let keys = [of("lease"), fence.clone(), of("queue"), of("seen")];
    let offer = async |incarnation: u32, drawn_for: &str| {
        let answer: (u8, u32, u64, String) = bench
            .redis
            .run("acquire", async |connection| {
                redis::cmd("EVAL")
                    .arg(script)
                    .arg(keys.len())
                    .arg(&keys)
                    .arg(&[
                        "ben/1",
                        "60000",
                        &incarnation.to_string(),
                        "0",
                        "3000",
                        "16",
                        "turns",
                        drawn_for,
                    ])
                    .query_async(connection)
                    .await
            })
            .await
            .unwrap();
        answer
    };
    leases.raise_incarnation("expire").await.unwrap();
    let (answer, asked_above, _, here) = offer(0, "").await;
    assert_eq!((answer, asked_above), (2, token.incarnation()), "one must be drawn");
    let elsewhere = "0".repeat(40);
    assert_eq!(offer(asked_above + 1, &elsewhere).await, (2, asked_above, 0, here.clone()));
    let (answer, incarnation, counter, _) = offer(asked_above + 1, &here).await;
    assert_eq!((answer, incarnation, counter), (1, asked_above + 1, 1));
}

#[tokio::test]
async fn no_two_draws_at_once_get_one_incarnation() {
    let bench = Bench::new().await;
    // Each with keys of its own, so that each draws each time.
    let leases = [0, 1, 2, 3, 4, 5].map(|part| {
        let prefix = format!("{}{part}:", bench.key_prefix);
        let redis = Redis::connect(&redis_settings(bench.redis_port, &prefix)).unwrap();
        Leases::new(redis, bench.app.clone(), "ann")
    });
    let mut drawn = Vec::new();
    for _ in 0..20 {
        let draws = leases.iter().map(async |leases| {
            leases.raise_incarnation("expire").await.unwrap();
            let lease = leases.acquire("expire", LONG).await.unwrap().unwrap();
            let incarnation = lease.token().incarnation();
            lease.release().await.unwrap();
            incarnation
        });
        drawn.extend(join_all(draws).await);
    }
    let distinct: std::collections::BTreeSet<u32> = drawn.iter().copied().collect();
    assert_eq!(distinct.len(), drawn.len(), "{drawn:?}");
}
