//! The pool: lazy, bounded, on its own runtime.

use std::time::{Duration, Instant};

use millrace_coordination::{Leases, Redis, RedisError, RedisHealth};
use millrace_runtime::settings::Secret;
use millrace_testkit::{Stack, ports, wait_until};
use redis::cmd;

use crate::harness::{Bench, LONG, PATIENCE, impatient, redis_settings};

const README: &str = include_str!("../../README.md");

/// Far beyond an impatient client's half second, and far before what isn't bounded at all.
const SOON: Duration = Duration::from_secs(6);

#[tokio::test]
async fn a_pool_is_made_while_redis_is_away_and_says_so_quickly() {
    let [port] = ports::free().unwrap();
    let redis = Redis::connect(&impatient(redis_settings(port, "t:"))).unwrap();
    let asked = Instant::now();
    assert!(!RedisHealth::ask(&redis).await.up);
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
}

#[tokio::test]
async fn a_redis_that_answers_is_up_and_keys_have_their_prefix() {
    let bench = Bench::new().await;
    let health = RedisHealth::ask(&bench.redis).await;
    assert!(health.up);
    assert_eq!(health.open, 1);
    assert!(bench.redis.key("lease").ends_with(":lease"));
}

#[tokio::test]
async fn a_command_on_a_frozen_redis_ends_in_time() {
    let stack = Stack::private().await.unwrap();
    let redis = Bench::on(&stack).await.impatient();
    wait_until("it is up", PATIENCE, || async { RedisHealth::ask(&redis).await.up }).await;
    stack.redis().pause();
    let asked = Instant::now();
    let answer = redis
        .run("GET", async |connection| {
            cmd("GET").arg("a").query_async::<Option<String>>(connection).await
        })
        .await;
    stack.redis().resume();
    assert!(
        matches!(answer, Err(RedisError::Timeout { .. } | RedisError::Connection(_))),
        "{answer:?}"
    );
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
}

/// A connection's driver lives on the runtime that opened it. One that a short-lived runtime opened would leave a
/// dead connection in the pool.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_first_used_on_another_runtime_outlives_it() {
    let bench = Bench::new().await;
    let redis = bench.redis.clone();
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(RedisHealth::ask(&redis)).up
    });
    assert!(tokio::task::spawn_blocking(move || other.join().unwrap()).await.unwrap());
    let health = RedisHealth::ask(&bench.redis).await;
    assert!(health.up);
    assert_eq!(health.open, 1, "the same connection is used again");
}

#[tokio::test]
async fn the_rights_named_in_the_readme_are_enough_for_leases() {
    let bench = Bench::new().await;
    let rights = README.lines().find(|line| line.starts_with("+ping ")).unwrap();
    let user = bench.key_prefix.trim_end_matches(':').to_owned();
    let granted = bench.redis.run("ACL", async |connection| {
        let mut acl = cmd("ACL");
        acl.arg("SETUSER")
            .arg(&user)
            .arg("on")
            .arg(">secret")
            .arg(format!("~{}*", bench.key_prefix))
            .arg(format!("&{}*", bench.key_prefix));
        acl.arg(rights.split(' ').collect::<Vec<_>>()).query_async::<()>(connection).await
    });
    granted.await.unwrap();
    let port = Stack::shared().await.addresses().redis_port;
    let mut settings = redis_settings(port, &bench.key_prefix);
    settings.user = user;
    settings.password = Secret::new("secret");
    let leases = Leases::new(Redis::connect(&settings).unwrap(), bench.app.clone(), "ann");
    let mut lease = leases.acquire("expire", LONG).await.unwrap().unwrap();
    assert!(lease.renew().await.unwrap());
    let (next, ()) = futures::join!(leases.acquire_within("expire", LONG, PATIENCE), async {
        wait_until("one waits", PATIENCE, || async {
            let list = leases.list().await;
            list.redis && list.leases[0].waiters == 1
        })
        .await;
        assert!(lease.release().await.unwrap());
    });
    assert!(next.unwrap().unwrap().release().await.unwrap());
    leases.raise_incarnation("expire").await.unwrap();
    // The subscription makes no noise when it may not subscribe: waiters would only look.
    let refused = bench.redis.run("ACL", async |connection| {
        cmd("ACL").arg("LOG").query_async::<redis::Value>(connection).await
    });
    let refused = format!("{:?}", refused.await.unwrap());
    assert!(!refused.contains(&settings.user), "{refused}");

    settings.key_prefix = "another-service:".into();
    let stranger = Leases::new(Redis::connect(&settings).unwrap(), bench.app.clone(), "ann");
    stranger.acquire("expire", LONG).await.unwrap_err();
}
