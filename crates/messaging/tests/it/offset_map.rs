//! The map beside the committed offset: what is repeated after a restart, and what is not.
//!
//! A member that dies can't be had inside the test's own process. What the broker has at the moment of its death can:
//! the committed state is noted while it works, and put back after it has left. The next member finds what it would
//! have found after a kill at that moment.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millrace_testkit::{CommittedOffset, wait_until};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Semaphore;

use crate::harness::{Depot, Member, SOON, Seen};

const METADATA_BYTES_MAX: usize = 4096;

/// A parcel for each number, so that no record waits for another.
fn parcels(numbers: std::ops::Range<u32>) -> Vec<(String, u32)> {
    numbers.map(|number| (format!("p{number}"), number)).collect()
}

async fn send(depot: &Depot, numbers: std::ops::Range<u32>) {
    let parcels = parcels(numbers);
    let parcels: Vec<(&str, u32)> =
        parcels.iter().map(|(id, number)| (id.as_str(), *number)).collect();
    depot.send(&parcels).await;
}

fn offsets(done: &[Seen]) -> Vec<i64> {
    let mut offsets: Vec<i64> = done.iter().map(|seen| seen.offset).collect();
    offsets.sort_unstable();
    offsets
}

fn group(depot: &Depot) -> String {
    format!("{}{}", crate::harness::GROUP, depot.namespace.group_suffix)
}

async fn committed(depot: &Depot) -> Option<CommittedOffset> {
    depot.stack.access().committed(&group(depot), &depot.topic(), 0).await
}

async fn set_committed(depot: &Depot, partition: i32, offset: &CommittedOffset) {
    let (access, group, topic) = (depot.stack.access(), group(depot), depot.topic());
    wait_until("the group has no members", SOON, || async {
        let set = access.set_committed(&group, &topic, partition, offset).await;
        set.map_err(|error| error.to_string())
    })
    .await;
}

/// As many records above the committed offset are known as finished.
async fn known_above(depot: &Depot, count: usize) {
    wait_until("it is committed what is finished", SOON, || async {
        let committed = committed(depot).await;
        let map = committed.as_ref().map_or(Vec::new(), |at| crate::commit_gap::map(&at.metadata));
        let known = map.into_iter().filter(|finished| *finished).count();
        if known == count { Ok(()) } else { Err((known, committed)) }
    })
    .await;
}

/// A member whose handler never comes back from number 10.
fn hanging(depot: &Depot) -> Member {
    depot.member(|seen| async move {
        if seen[0].number == 10 {
            std::future::pending::<()>().await;
        }
        Ok(())
    })
}

#[tokio::test]
async fn after_a_kill_only_the_hole_and_what_finished_since_the_last_commit_is_repeated() {
    let mut depot = Depot::open(1).await;
    depot.settings.batch_records_max = 1;
    depot.settings.revoke_timeout = Duration::from_millis(500);
    send(&depot, 0..100).await;
    let member = hanging(&depot);
    wait_until("the others go on", SOON, || async { depot.done().len() == 99 }).await;
    known_above(&depot, 89).await;
    member.leave().await;
    let before = committed(&depot).await.unwrap();
    assert_eq!(before.offset, 10, "the offset stays below the hole");
    assert!(!before.metadata.is_empty(), "what is finished above it stands beside it");

    let member = hanging(&depot);
    send(&depot, 100..150).await;
    wait_until("fifty more are done", SOON, || async { depot.done().len() == 149 }).await;
    known_above(&depot, 139).await;
    assert_eq!(member.handle.health().left_out, 89);
    member.leave().await;
    let after = committed(&depot).await.unwrap();
    assert_eq!(after.offset, 10);
    assert_ne!(after, before, "the map has grown");
    // The kill came before the fifty were committed.
    set_committed(&depot, 0, &before).await;

    depot.done.lock().unwrap().clear();
    let member = depot.member(|_| async { Ok(()) });
    let repeated: Vec<i64> = std::iter::once(10).chain(100..150).collect();
    wait_until("all is committed", SOON, || async {
        committed(&depot).await.is_some_and(|at| at.offset == 150)
    })
    .await;
    assert_eq!(offsets(&depot.done()), repeated);
    assert_eq!(member.handle.health().left_out, 89);
    assert_eq!(committed(&depot).await.unwrap().metadata, "", "there is no hole left to tell of");
    member.leave().await;
}

#[tokio::test]
async fn metadata_of_somebody_else_is_ignored_and_moves_no_offset() {
    // Text of other tools, base64 of other things, a map that ends in its middle, one of another length.
    let foreign =
        ["deployed by hand", "bm90IGEgbWFw", "TA==", "bAAAAA==", "{\"v\":1}", "AAAAAAAAAAA="];
    let partitions = i32::try_from(foreign.len()).unwrap();
    let depot = Depot::open(partitions).await;
    for partition in 0..partitions {
        let record = crate::harness::record("p", 0);
        let raw = millrace_testkit::RawOutgoing {
            key: Some(b"p".to_vec()),
            payload: record.payload.clone(),
            headers: Vec::new(),
            timestamp_ms: record.timestamp_ms.unwrap_or(1),
        };
        depot.stack.access().write_raw(&depot.topic(), partition, &vec![raw; 10]).await;
        let metadata = foreign[usize::try_from(partition).unwrap()].to_owned();
        set_committed(&depot, partition, &CommittedOffset { offset: 4, metadata }).await;
    }
    let member = depot.member(|_| async { Ok(()) });
    wait_until("six of each are done", SOON, || async {
        let done = depot.done().len();
        if done == foreign.len() * 6 { Ok(()) } else { Err(done) }
    })
    .await;
    for partition in 0..partitions {
        let of: Vec<Seen> =
            depot.done().into_iter().filter(|seen| seen.partition == partition).collect();
        assert_eq!(offsets(&of), [4, 5, 6, 7, 8, 9], "partition {partition}");
        wait_until("it is committed", SOON, || async {
            depot.committed(partition).await == Some(10)
        })
        .await;
    }
    assert_eq!(member.handle.health().left_out, 0);
    member.leave().await;
}

#[tokio::test]
async fn intake_stops_when_the_map_is_full_and_goes_on_when_it_has_room() {
    const COUNT: u32 = 40_000;
    let seed = 20_251_121;
    let mut random = StdRng::seed_from_u64(seed);
    // Every third record hangs, by chance: a pattern that no encoding makes short.
    let hangs: BTreeSet<u32> = (0..COUNT).filter(|_| random.random_bool(0.3)).collect();
    let first = i64::from(*hangs.first().unwrap());
    let all_others = usize::try_from(COUNT).unwrap() - hangs.len();
    let mut depot = Depot::open(1).await;
    depot.settings.batch_records_max = 1;
    // The map is to be the narrowest bound.
    depot.settings.in_flight_records_max = 14_000;
    depot.settings.concurrency = 50_000;
    depot.settings.revoke_timeout = Duration::from_millis(500);
    send(&depot, 0..COUNT).await;
    let hanging = |gate: &Arc<Semaphore>| {
        let (gate, hangs) = (Arc::clone(gate), hangs.clone());
        depot.member(move |seen| {
            let waits = hangs.contains(&seen[0].number).then(|| Arc::clone(&gate));
            async move {
                if let Some(gate) = waits {
                    drop(gate.acquire().await.unwrap());
                }
                Ok(())
            }
        })
    };
    let member = hanging(&Arc::new(Semaphore::new(0)));
    let below = usize::try_from(first).unwrap();
    let mut last = (0, 0);
    let done = wait_until("intake stands still", SOON, || {
        let done = depot.done.lock().unwrap().len();
        last = if last.0 == done { (done, last.1 + 1) } else { (done, 0) };
        let (depot, still) = (&depot, last.1 > 20 && done > 5_000);
        async move {
            let map = if still { committed(depot).await } else { None };
            let map = map.map_or(Vec::new(), |at| crate::commit_gap::map(&at.metadata));
            // Else it is the machine that stands still.
            let known = below + map.iter().filter(|finished| **finished).count();
            if still && known == done { Ok(done) } else { Err((done, known, map.len())) }
        }
    })
    .await;
    assert!(done < all_others, "seed {seed}: {done} came through");
    let health = member.handle.health();
    assert!(!health.stalled, "a full map explains itself: {health:?}");
    member.leave().await;
    let at_rest = committed(&depot).await.unwrap();
    let room = METADATA_BYTES_MAX / 2..=METADATA_BYTES_MAX;
    assert_eq!(at_rest.offset, first, "seed {seed}");
    assert!(room.contains(&at_rest.metadata.len()), "seed {seed}: {}", at_rest.metadata.len());

    // Nothing that was done comes again: the map had room for all of it.
    let gate = Arc::new(Semaphore::new(10));
    let member = hanging(&gate);
    wait_until("all are done and committed", SOON, || async {
        let at = committed(&depot).await.map(|at| at.offset);
        if at == Some(i64::from(COUNT)) { Ok(()) } else { Err((at, depot.done().len())) }
    })
    .await;
    let left_out = member.handle.health().left_out;
    assert_eq!(
        depot.done().len(),
        usize::try_from(COUNT).unwrap(),
        "seed {seed}: {done} {left_out}"
    );
    assert_eq!(left_out, u64::try_from(done - below).unwrap(), "seed {seed}");
    member.leave().await;
}
