//! Leases on Redis Cluster: a lease's keys move together, and whichever master has them, tokens rise.

use std::time::{Duration, Instant};

use millrace_coordination::{RedisMode, RedisSettings};
use millrace_runtime::settings::Secret;
use millrace_testkit::{Redis, RedisCluster, Way, wait_until};

use crate::harness::LONG;
use crate::sink::{Denied, Sink, WORK};

const FAILED_OVER_WITHIN: Duration = Duration::from_secs(12);

fn settings(sink: &Sink, redis: &RedisCluster) -> RedisSettings {
    let mut settings = sink.single(1);
    settings.mode = RedisMode::Cluster;
    settings.nodes = redis.addresses();
    settings
}

/// The slot of the lease, which must be held now, and the master that has it.
async fn place(redis: &RedisCluster) -> (u16, usize) {
    for (index, node) in redis.nodes().iter().enumerate().take(3) {
        let keys = lease_keys(node).await;
        if let Some(key) = keys.first() {
            return (redis.slot_of(key).await.unwrap(), index);
        }
    }
    panic!("no master has the lease");
}

async fn lease_keys(node: &Redis) -> Vec<String> {
    node.ask(&["KEYS", &format!("*lease:*:{WORK}")]).await.unwrap()
}

#[tokio::test]
async fn a_lease_moves_with_its_slot_and_the_next_token_is_higher() {
    let (redis, sink) = (RedisCluster::start(0).await.unwrap(), Sink::new().await);
    let settings = settings(&sink, &redis);
    let (ann, ben) = (sink.holder(&settings, "ann"), sink.holder(&settings, "ben"));
    let mut lease = sink.acquired(&ann, LONG).await;
    let token = lease.token();
    let (slot, from) = place(&redis).await;
    for to in [(from + 1) % 3, (from + 2) % 3, from] {
        redis.move_slot(slot, to).await.unwrap();
        assert_eq!(place(&redis).await, (slot, to));
        assert!(lease.renew().await.unwrap(), "it is still ann's, at another master");
        assert!(sink.answered(&ben).await.is_none());
        assert!(lease.release().await.unwrap());
        let next = sink.turn(&ben).await;
        assert!(next.token() > token, "{} > {token}", next.token());
        next.release().await;
        lease = sink.acquired(&ann, LONG).await;
    }
    let tokens = sink.tokens().await;
    let incarnations: std::collections::BTreeSet<u32> =
        tokens.iter().map(|token| token.incarnation()).collect();
    assert_eq!(incarnations.len(), 3, "each master has drawn its own: {tokens:?}");
}

#[tokio::test]
async fn a_lease_whose_keys_were_left_behind_by_a_move_is_refused_at_the_sink() {
    let (redis, sink) = (RedisCluster::start(0).await.unwrap(), Sink::new().await);
    let settings = settings(&sink, &redis);
    let (ann, ben) = (sink.holder(&settings, "ann"), sink.holder(&settings, "ben"));
    let lost = sink.turn(&ann).await;
    let (slot, from) = place(&redis).await;
    redis.start_move(slot, (from + 1) % 3).await.unwrap().finish().await.unwrap();
    let held = sink.turn(&ben).await;
    assert_eq!(sink.write(&lost).await, Err(Denied::Refused));
    assert_eq!(sink.write(&held).await, Ok(()));
    lost.release().await;
    held.release().await;

    let emptied = sink.turn(&ann).await;
    let (_, owner) = place(&redis).await;
    redis.node(owner).kill();
    redis.node(owner).start_empty().await.unwrap();
    let held = sink.turn(&ben).await;
    assert_eq!(sink.write(&emptied).await, Err(Denied::Refused));
    redis.node(owner).flush().await.unwrap();
    let next = sink.turn(&ann).await;
    assert_eq!(sink.write(&held).await, Err(Denied::Refused));
    assert_eq!(sink.write(&next).await, Ok(()));
    sink.tokens().await;
}

#[tokio::test]
async fn a_lease_that_a_masters_lagging_replica_never_saw_is_refused_at_the_sink() {
    let (redis, sink) = (RedisCluster::start(1).await.unwrap(), Sink::new().await);
    let settings = settings(&sink, &redis);
    let (ann, ben) = (sink.holder(&settings, "ann"), sink.holder(&settings, "ben"));
    let first = sink.turn(&ann).await;
    let (slot, owner) = place(&redis).await;
    first.release().await;
    redis.node(owner).pause_replication().await.unwrap();
    sink.turn(&ben).await.release().await;
    let lost = sink.turn(&ann).await;
    redis.node(owner).kill();
    let killed = Instant::now();
    let held = sink.turn(&ben).await;
    assert!(killed.elapsed() < FAILED_OVER_WITHIN, "{:?}", killed.elapsed());
    assert_ne!(redis.owner_other_than(slot, owner).await.unwrap(), owner);
    assert!(held.token().incarnation() > lost.token().incarnation());
    assert_eq!(sink.write(&lost).await, Err(Denied::Refused));
    assert_eq!(sink.write(&held).await, Ok(()));
    sink.tokens().await;
}

#[tokio::test]
async fn an_acquisition_whose_answer_was_lost_is_not_taken_for_another_holders() {
    let (redis, sink) = (RedisCluster::start(0).await.unwrap(), Sink::new().await);
    let settings = settings(&sink, &redis);
    let ann = sink.holder(&settings, "ann");
    let first = sink.turn(&ann).await;
    let (_, owner) = place(&redis).await;
    first.release().await;
    let node = redis.node(owner);
    node.proxy().freeze(Way::ToClient);
    let (acquired, ()) = tokio::join!(ann.acquire(WORK, LONG), async {
        wait_until("Redis has granted it", Duration::from_secs(5), || async {
            !lease_keys(node).await.is_empty()
        })
        .await;
        node.proxy().cut();
        node.proxy().pass();
    });
    // Asked a second time by the client, Redis must know whose attempt it was; or nobody is told anything.
    assert!(!matches!(acquired, Ok(None)), "nobody else holds it");
}

#[tokio::test]
async fn the_rights_named_in_the_readme_are_enough_on_a_cluster() {
    let (redis, sink) = (RedisCluster::start(0).await.unwrap(), Sink::new().await);
    let mut settings = settings(&sink, &redis);
    let readme = include_str!("../../README.md");
    let rights = readme.lines().find(|line| line.starts_with("+ping ")).unwrap();
    assert!(readme.contains("`+cluster +asking` too on a cluster"));
    let (keys, channels) =
        (format!("~{}*", settings.key_prefix), format!("&{}*", settings.key_prefix));
    for node in redis.nodes() {
        let mut acl = vec![
            "ACL", "SETUSER", "guest", "on", ">secret", &keys, &channels, "+cluster", "+asking",
        ];
        acl.extend(rights.split(' '));
        node.ask::<()>(&acl).await.unwrap();
    }
    settings.user = "guest".into();
    settings.password = Secret::new("secret");
    let (ann, ben) = (sink.holder(&settings, "ann"), sink.holder(&settings, "ben"));
    let mut lease = sink.acquired(&ann, LONG).await;
    let (slot, from) = place(&redis).await;
    redis.move_slot(slot, (from + 1) % 3).await.unwrap();
    assert!(lease.renew().await.unwrap());
    let (next, ()) = tokio::join!(ben.acquire_within(WORK, LONG, FAILED_OVER_WITHIN), async {
        wait_until("ben waits", FAILED_OVER_WITHIN, || async {
            let list = ann.list().await;
            list.redis && list.leases[0].waiters == 1
        })
        .await;
        assert!(lease.release().await.unwrap());
    });
    assert!(next.unwrap().unwrap().release().await.unwrap());
    ann.raise_incarnation(WORK).await.unwrap();
    for node in redis.nodes() {
        let refused: redis::Value = node.ask(&["ACL", "LOG"]).await.unwrap();
        assert!(!format!("{refused:?}").contains("guest"), "{refused:?}");
    }
}
