//! Leases on a primary with replicas: whoever becomes the primary, tokens rise, and clients find it by themselves.

use std::time::{Duration, Instant};

use millrace_coordination::{RedisMode, RedisSettings};
use millrace_runtime::settings::Secret;
use millrace_testkit::{RedisSentinels, wait_until};
use tokio::sync::Mutex;

use crate::harness::{LONG, impatient};
use crate::sink::{Denied, Sink, WORK};

/// A lost primary is noticed, another one elected and the clients have come to it.
const FAILED_OVER_WITHIN: Duration = Duration::from_secs(12);
const SHORT: Duration = Duration::from_secs(1);

fn settings(sink: &Sink, redis: &RedisSentinels) -> RedisSettings {
    let mut settings = sink.single(1);
    settings.mode = RedisMode::Sentinel;
    settings.nodes = redis.sentinel_addresses();
    settings.sentinel_master = redis.master_name().to_owned();
    settings
}

#[tokio::test]
async fn a_lease_that_a_lagging_replica_never_saw_is_refused_at_the_sink_after_the_failover() {
    let (redis, sink) = (RedisSentinels::start().await.unwrap(), Sink::new().await);
    let settings = settings(&sink, &redis);
    let (ann, ben) = (sink.holder(&settings, "ann"), sink.holder(&settings, "ben"));
    sink.turn(&ann).await.release().await;
    sink.turn(&ben).await.release().await;

    redis.node(0).pause_replication().await.unwrap();
    // More tokens than the replicas know of, and a lease that they don't know either.
    sink.turn(&ben).await.release().await;
    let lost = sink.turn(&ann).await;
    redis.node(0).kill();
    let killed = Instant::now();
    let held = sink.turn(&ben).await;
    assert!(killed.elapsed() < FAILED_OVER_WITHIN, "{:?}", killed.elapsed());
    assert!(held.token().incarnation() > lost.token().incarnation());

    assert_eq!(sink.write(&lost).await, Err(Denied::Refused), "both believe that they hold it");
    assert_eq!(sink.write(&held).await, Ok(()));
    held.release().await;
    lost.release().await;
    redis.heal().await.unwrap();
    sink.turn(&ann).await.release().await;
    assert_eq!(sink.tokens().await.len(), 7);
}

#[tokio::test]
async fn a_client_leaves_a_healthy_primary_that_was_replaced() {
    let (redis, sink) = (RedisSentinels::start().await.unwrap(), Sink::new().await);
    let settings = settings(&sink, &redis);
    let (ann, ben) = (sink.holder(&settings, "ann"), sink.holder(&settings, "ben"));
    let lease = Mutex::new(sink.acquired(&ann, LONG).await);
    let token = lease.lock().await.token();
    redis.settled().await.unwrap();
    redis.failover().await.unwrap();
    // The old one is told a moment later; what it is asked until then, it does and loses.
    assert_ne!(redis.settled().await.unwrap(), 0);
    let asked = Instant::now();
    let renewed = wait_until("ann asks the other one", FAILED_OVER_WITHIN, || async {
        lease.lock().await.renew().await
    });
    assert!(renewed.await, "the replica had seen the lease");
    assert!(sink.answered(&ben).await.is_none(), "it is still ann's, at the other one");
    assert!(lease.into_inner().release().await.unwrap());
    let next = sink.turn(&ben).await;
    assert!(asked.elapsed() < FAILED_OVER_WITHIN, "{:?}", asked.elapsed());
    assert!(next.token().incarnation() > token.incarnation());
    next.release().await;

    redis.settled().await.unwrap();
    redis.failover().await.unwrap();
    sink.turn(&ann).await.release().await;
    sink.tokens().await;
}

#[tokio::test]
async fn a_primary_that_was_cut_off_gives_leases_that_no_sink_takes() {
    let (redis, sink) = (RedisSentinels::start().await.unwrap(), Sink::new().await);
    let ann = sink.holder(&settings(&sink, &redis), "ann");
    // On the wrong side: it reaches the old primary, and nobody tells it of another.
    let cut_off = sink.holder(&sink.single(redis.node(0).port()), "cut-off");
    sink.turn(&ann).await.release().await;

    redis.isolate(0);
    let held = sink.turn(&ann).await;
    let stale = sink.keep(sink.acquired(&cut_off, LONG).await);
    assert!(stale.token() < held.token());
    assert_eq!(sink.write(&stale).await, Err(Denied::Refused));
    assert_eq!(sink.write(&held).await, Ok(()));
    drop(stale);
    redis.heal().await.unwrap();
    held.release().await;
    sink.turn(&ann).await.release().await;
    sink.tokens().await;
}

#[tokio::test]
async fn a_frozen_primary_is_left_for_the_new_one_and_what_it_gives_later_is_refused() {
    let (redis, sink) = (RedisSentinels::start().await.unwrap(), Sink::new().await);
    let settings = settings(&sink, &redis);
    let ben = sink.holder(&settings, "ben");
    let ann = sink.holder(&impatient(settings), "ann");
    let thawed = sink.holder(&sink.single(redis.node(0).port()), "thawed");
    sink.turn(&ann).await.release().await;
    redis.settled().await.unwrap();
    redis.node(0).pause();
    let frozen = Instant::now();
    // What ann asks the frozen one is done at its thaw, and must not keep the lease there for long.
    let found = sink.acquired(&ann, SHORT).await;
    assert!(frozen.elapsed() < FAILED_OVER_WITHIN, "{:?}", frozen.elapsed());
    // From here on it asks the new one; whether the short lease is still its own doesn't matter.
    drop(found.release().await);
    let held = sink.turn(&ann).await;

    // The sentinels must not get at it before it has given a lease once more.
    redis.isolate(0);
    redis.node(0).resume();
    let stale = sink.keep(sink.acquired(&thawed, LONG).await);
    assert_eq!(sink.write(&stale).await, Err(Denied::Refused));
    assert!(sink.answered(&ben).await.is_none(), "ben asks the new one");
    assert_eq!(sink.write(&held).await, Ok(()));
    sink.tokens().await;
}

#[tokio::test]
async fn tokens_rise_over_a_wiped_primary_and_a_flush() {
    let (redis, sink) = (RedisSentinels::start().await.unwrap(), Sink::new().await);
    let settings = settings(&sink, &redis);
    let (ann, ben) = (sink.holder(&settings, "ann"), sink.holder(&settings, "ben"));
    let forgotten = sink.turn(&ann).await;
    // Back before its death was noticed, its emptiness is copied to the replicas; later, one of them was elected.
    redis.node(0).kill();
    redis.node(0).start_empty().await.unwrap();
    redis.settled().await.unwrap();
    let held = match sink.answered(&ben).await {
        Some(lease) => {
            let held = sink.keep(lease);
            assert_eq!(sink.write(&held).await, Ok(()));
            assert_eq!(sink.write(&forgotten).await, Err(Denied::Refused));
            held
        }
        None => forgotten,
    };
    let primary = redis.primary().await.unwrap();
    redis.node(primary).flush().await.unwrap();
    let next = sink.turn(&ben).await;
    assert!(next.token() > held.token());
    assert_eq!(sink.write(&held).await, Err(Denied::Refused));
    assert_eq!(sink.write(&next).await, Ok(()));
    sink.tokens().await;
}

#[tokio::test]
async fn sentinels_that_want_a_password_get_theirs_and_not_redis_own() {
    let (redis, sink) = (RedisSentinels::start().await.unwrap(), Sink::new().await);
    let rights = "+ping +client +sentinel|get-master-addr-by-name";
    assert!(include_str!("../../README.md").contains(rights));
    for address in redis.sentinel_addresses() {
        let client = redis::Client::open(format!("redis://{address}")).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut acl = redis::cmd("ACL");
        acl.arg("SETUSER")
            .arg("guest")
            .arg("on")
            .arg(">of the sentinels")
            .arg(rights.split(' ').collect::<Vec<_>>());
        acl.query_async::<()>(&mut connection).await.unwrap();
    }
    let mut settings = settings(&sink, &redis);
    settings.sentinel_user = "guest".into();
    settings.sentinel_password = Secret::new("of somebody else");
    sink.holder(&settings, "ann").acquire(WORK, LONG).await.unwrap_err();
    settings.sentinel_password = Secret::new("of the sentinels");
    sink.turn(&sink.holder(&settings, "ann")).await.release().await;
}

#[tokio::test]
async fn a_release_that_a_failover_lost_leaves_the_lease_standing_until_its_end_and_then_it_goes_on()
 {
    let (redis, sink) = (RedisSentinels::start().await.unwrap(), Sink::new().await);
    let settings = settings(&sink, &redis);
    let (ann, ben) = (sink.holder(&settings, "ann"), sink.holder(&settings, "ben"));
    let lease = sink.acquired(&ann, LONG).await;
    let token = lease.token();
    let pattern = format!("*lease:*:{WORK}");
    for replica in &redis.nodes()[1..] {
        wait_until("the replica knows the lease", FAILED_OVER_WITHIN, || async {
            replica.ask::<Vec<String>>(&["KEYS", &pattern]).await.unwrap().len() == 1
        })
        .await;
    }
    redis.node(0).pause_replication().await.unwrap();
    assert!(lease.release().await.unwrap());
    redis.node(0).kill();
    let primary = redis.primary_other_than(0).await.unwrap();
    assert!(sink.answered(&ben).await.is_none(), "the new primary knows of no release");
    let key = redis.node(primary).ask::<Vec<String>>(&["KEYS", &pattern]).await.unwrap().remove(0);
    let (next, ()) = tokio::join!(ben.acquire_within(WORK, LONG, FAILED_OVER_WITHIN), async {
        // Its time passes.
        let ends: bool = redis.node(primary).ask(&["PEXPIRE", &key, "300"]).await.unwrap();
        assert!(ends);
    });
    assert!(next.unwrap().expect("ben gets it").token() > token);
}
