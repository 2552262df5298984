//! Back-pressure, stalls, lag and missing topics, as the health shows them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use millrace_messaging::admin::{TopicAdmin, TopicConfig};
use millrace_testkit::{Stack, wait_until};
use tokio::sync::Semaphore;

use crate::harness::{BROKEN_BELT, Depot, GROUP, SOON, TOPIC, assert_no_stall, broken};

#[tokio::test]
async fn a_slow_handler_pauses_its_partition_and_loses_nothing() {
    let mut depot = Depot::open(1).await;
    depot.settings.in_flight_records_max = 10;
    depot.settings.batch_records_max = 3;
    let parcels: Vec<(&str, u32)> = (0..500).map(|number| ("p", number)).collect();
    depot.send(&parcels).await;
    let gate = Arc::new(Semaphore::new(0));
    let member = {
        let gate = Arc::clone(&gate);
        depot.member(move |_| {
            let gate = Arc::clone(&gate);
            async move {
                drop(gate.acquire().await.unwrap());
                Ok(())
            }
        })
    };
    wait_until("the lag is known", SOON, || async { member.handle.health().lag == 500 }).await;
    // More arrives while the partition is paused, and the lag still tells it.
    depot.send(&[("p", 500)]).await;
    wait_until("the lag grows", SOON, || async { member.handle.health().lag == 501 }).await;
    member.turned().await;
    assert_eq!(member.handle.health().partition_count, 1);
    gate.add_permits(1);
    wait_until("all are done", SOON, || async { depot.done().len() == 501 }).await;
    assert_eq!(depot.numbers("p"), (0..=500).collect::<Vec<u32>>());
    wait_until("nothing lags", SOON, || async { member.handle.health().lag == 0 }).await;
    member.leave().await;
}

#[tokio::test]
async fn a_hung_handler_shows_as_a_stall_and_an_idle_consumer_does_not() {
    let mut depot = Depot::open(1).await;
    depot.settings.stall_limit = Duration::from_millis(400);
    let hangs = Arc::new(AtomicBool::new(true));
    let member = {
        let hangs = Arc::clone(&hangs);
        depot.member(move |_| {
            let hangs = Arc::clone(&hangs);
            async move {
                while hangs.load(Ordering::SeqCst) {
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
        })
    };
    wait_until("it owns its partition", SOON, || async {
        member.handle.health().partition_count == 1
    })
    .await;
    let mut events = member.handle.events();
    let (owned, limit) = (Instant::now(), depot.settings.stall_limit);
    wait_until("it has been idle for long", SOON, || async { owned.elapsed() > limit * 2 }).await;
    member.turned().await;
    assert_no_stall(&mut events);
    depot.send(&[("p", 1)]).await;
    wait_until("it is stalled", SOON, || async {
        let health = member.handle.health();
        let reason = health.reason.clone().unwrap_or_default();
        let told = reason.contains("partition 0") && reason.contains("handler");
        if health.stalled && told { Ok(()) } else { Err(health) }
    })
    .await;
    hangs.store(false, Ordering::SeqCst);
    wait_until("it is no longer stalled", SOON, || async { !member.handle.health().stalled }).await;
    member.leave().await;
}

#[tokio::test]
async fn a_missing_topic_is_waited_for_and_the_health_says_so() {
    let stack = Stack::shared().await;
    let depot = Depot::closed(stack, stack.namespace());
    let member = depot.member(|_| async { Ok(()) });
    wait_until("it says what it waits for", SOON, || async {
        let reason = member.handle.health().reason.unwrap_or_default();
        if reason.contains("does not exist") { Ok(()) } else { Err(reason) }
    })
    .await;
    let admin = TopicAdmin::new(&depot.settings).unwrap();
    let config =
        TopicConfig { name: TOPIC, partitions: 1, replication: 1, configs: BTreeMap::new() };
    let dead = TopicConfig { name: TOPIC.dead_letter(GROUP), ..config.clone() };
    admin.ensure(&[config, dead.clone()]).await.unwrap();
    depot.send(&[("p", 1)]).await;
    wait_until("it consumes", SOON, || async { depot.numbers("p") == [1] }).await;
    wait_until("nothing is said any more", SOON, || async {
        member.handle.health().reason.is_none()
    })
    .await;
    member.leave().await;
    admin.delete(&[TOPIC, dead.name]).await.unwrap();
}

#[tokio::test]
async fn a_hanging_call_and_a_flood_together_do_not_stop_the_good_ones() {
    let mut depot = Depot::open(1).await;
    depot.settings.flood_failures = 5;
    depot.settings.batch_records_max = 1;
    depot.settings.revoke_timeout = Duration::from_millis(500);
    let hangs = Arc::new(AtomicBool::new(false));
    let member = {
        let hangs = Arc::clone(&hangs);
        depot.member(move |seen| {
            let (hangs, parcel) = (Arc::clone(&hangs), seen[0].parcel.clone());
            async move {
                match parcel.as_str() {
                    "hangs" => {
                        hangs.store(true, Ordering::SeqCst);
                        std::future::pending().await
                    }
                    "good" => Ok(()),
                    _ => Err(broken(&BROKEN_BELT)),
                }
            }
        })
    };
    depot.send(&[("hangs", 0)]).await;
    wait_until("a call hangs", SOON, || async { hangs.load(Ordering::SeqCst) }).await;
    let bad: Vec<String> = (0..50).map(|id| format!("bad{id}")).collect();
    let mut parcels: Vec<(&str, u32)> = bad.iter().map(|id| (id.as_str(), 0)).collect();
    parcels.push(("good", 0));
    depot.send(&parcels).await;
    wait_until("the good one is done", SOON, || async { depot.numbers("good") == [0] }).await;
    member.leave().await;
}
