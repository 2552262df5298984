//! A Redis of one's own, and the ways in which Redis forgets, falls silent, fails over and moves.

use std::time::{Duration, Instant};

use millrace_testkit::{Redis, RedisCluster, RedisSentinels, Way, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(10);
const BRIEF: Duration = Duration::from_millis(200);

async fn set(redis: &Redis, key: &str, value: &str) {
    redis.ask::<()>(&["SET", key, value]).await.unwrap();
}

async fn get(redis: &Redis, key: &str) -> Option<String> {
    redis.ask(&["GET", key]).await.unwrap()
}

/// What one line sent through `stream` is answered, if it is.
async fn answered(stream: &mut TcpStream, line: &str, within: Duration) -> Option<String> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.ok()?;
    let mut bytes = [0; 64];
    let count = tokio::time::timeout(within, stream.read(&mut bytes)).await.ok()?.ok()?;
    Some(String::from_utf8_lossy(&bytes[..count]).trim().to_owned())
}

#[tokio::test]
async fn a_killed_redis_knows_its_last_snapshot_or_nothing() {
    let redis = Redis::private().await.unwrap();
    set(&redis, "kept", "1").await;
    redis.snapshot().await.unwrap();
    set(&redis, "kept", "2").await;
    redis.kill();
    assert!(!redis.running());
    redis.ask::<()>(&["PING"]).await.unwrap_err();
    redis.start().await.unwrap();
    assert_eq!(get(&redis, "kept").await.as_deref(), Some("1"), "it began from the older copy");
    redis.kill();
    redis.start_empty().await.unwrap();
    assert_eq!(get(&redis, "kept").await, None);

    redis.pause();
    assert!(redis.running());
    redis.ask::<()>(&["PING"]).await.unwrap_err();
    redis.resume();
    redis.ask::<()>(&["PING"]).await.unwrap();
}

#[tokio::test]
async fn a_partition_in_one_way_loses_the_question_or_only_the_answer() {
    let redis = Redis::private().await.unwrap();
    let mut client = TcpStream::connect(redis.proxy().address()).await.unwrap();
    assert_eq!(answered(&mut client, "INCR seen", LIMIT).await.as_deref(), Some(":1"));

    redis.proxy().freeze(Way::ToServer);
    assert_eq!(answered(&mut client, "INCR seen", BRIEF).await, None);
    assert_eq!(get(&redis, "seen").await.as_deref(), Some("1"), "the question didn't arrive");

    redis.proxy().reset();
    wait_until("it is gone with its question", LIMIT, || async {
        redis.proxy().connections() == 0
    })
    .await;
    redis.proxy().freeze(Way::ToClient);
    let mut client = TcpStream::connect(redis.proxy().address()).await.unwrap();
    assert_eq!(answered(&mut client, "INCR seen", BRIEF).await, None);
    wait_until("it was done all the same", LIMIT, || async {
        get(&redis, "seen").await.as_deref() == Some("2")
    })
    .await;
    redis.proxy().pass();
}

#[tokio::test]
async fn sentinels_put_a_lagging_replica_in_the_place_of_a_killed_primary() {
    let started = Instant::now();
    let redis = RedisSentinels::start().await.unwrap();
    println!("primary, replicas and sentinels took {:?}", started.elapsed());
    assert_eq!(redis.primary().await.unwrap(), 0);
    set(redis.node(0), "early", "1").await;
    wait_until("the replicas have it", LIMIT, || async {
        get(redis.node(1), "early").await.is_some() && get(redis.node(2), "early").await.is_some()
    })
    .await;
    redis.node(0).pause_replication().await.unwrap();
    set(redis.node(0), "late", "1").await;

    let killed = Instant::now();
    redis.node(0).kill();
    let primary = redis.primary_other_than(0).await.unwrap();
    println!("another primary was agreed on after {:?}", killed.elapsed());
    assert_eq!(get(redis.node(primary), "early").await.as_deref(), Some("1"));
    assert_eq!(get(redis.node(primary), "late").await, None, "the lag is lost");

    assert_eq!(redis.heal().await.unwrap(), primary, "the old one follows");
    println!("healed after {:?}", killed.elapsed());
    assert_eq!(get(redis.node(0), "early").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn an_isolated_primary_goes_on_alone_until_it_is_back() {
    let redis = RedisSentinels::start().await.unwrap();
    redis.isolate(0);
    let primary = redis.primary_other_than(0).await.unwrap();
    set(redis.node(0), "side", "wrong").await;
    set(redis.node(primary), "side", "right").await;
    assert_eq!(redis.heal().await.unwrap(), primary);
    assert_eq!(get(redis.node(0), "side").await.as_deref(), Some("right"));

    redis.kill_sentinel(2);
    let next = redis.failover().await.unwrap();
    assert_ne!(next, primary, "two of three sentinels are enough");
    redis.start_sentinel(2).await.unwrap();
    assert_eq!(redis.heal().await.unwrap(), next);
}

#[tokio::test]
async fn a_slot_moves_with_its_keys_and_clients_are_sent_after_them() {
    let started = Instant::now();
    let cluster = RedisCluster::start(0).await.unwrap();
    println!("three masters took {:?}", started.elapsed());
    let slot = cluster.slot_of("{tag}a").await.unwrap();
    assert_eq!(cluster.slot_of("tag").await.unwrap(), slot);
    let from = cluster.owner(slot).await.unwrap();
    let to = (from + 1) % 3;
    set(cluster.node(from), "{tag}a", "1").await;

    let moving = cluster.start_move(slot, to).await.unwrap();
    let asked = cluster.node(from).ask::<()>(&["SET", "{tag}b", "2"]).await.unwrap_err();
    assert!(format!("{asked:?}").to_uppercase().contains("ASK"), "{asked:?}");
    moving.carry_keys().await.unwrap();
    moving.finish().await.unwrap();
    assert_eq!(cluster.owner(slot).await.unwrap(), to);
    assert_eq!(get(cluster.node(to), "{tag}a").await.as_deref(), Some("1"));
    let moved = cluster.node(from).ask::<()>(&["GET", "{tag}a"]).await.unwrap_err();
    let address = cluster.node(to).proxy().address();
    assert!(format!("{moved:?}").to_uppercase().contains("MOVED"), "{moved:?}");
    assert!(cluster.addresses().contains(&address));

    cluster.move_slot(slot, from).await.unwrap();
    assert_eq!(get(cluster.node(from), "{tag}a").await.as_deref(), Some("1"));
    cluster.node(from).kill();
    cluster.node(from).start_empty().await.unwrap();
    cluster.heal().await.unwrap();
    assert_eq!(get(cluster.node(from), "{tag}a").await, None, "it has its slots and no keys");
}

#[tokio::test]
async fn a_lagging_replica_takes_the_slots_of_a_killed_master() {
    let started = Instant::now();
    let cluster = RedisCluster::start(1).await.unwrap();
    println!("three masters with a replica each took {:?}", started.elapsed());
    let slot = cluster.slot_of("{tag}a").await.unwrap();
    let owner = cluster.owner(slot).await.unwrap();
    cluster.node(owner).pause_replication().await.unwrap();
    set(cluster.node(owner), "{tag}a", "1").await;
    cluster.node(owner).kill();
    let killed = Instant::now();
    let next = cluster.owner_other_than(slot, owner).await.unwrap();
    println!("its replica took over after {:?}", killed.elapsed());
    assert_eq!(next, owner + 3);
    assert_eq!(get(cluster.node(next), "{tag}a").await, None, "the lag is lost");
    cluster.heal().await.unwrap();
    assert_eq!(cluster.owner(slot).await.unwrap(), next);
}
