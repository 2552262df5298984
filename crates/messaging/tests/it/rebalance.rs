//! Members come and go; nothing is lost, and no key's record is seen before its predecessors.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_testkit::wait_until;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::harness::{Depot, Member, SOON, Seen};

const PARTITIONS: i32 = 4;

fn member(depot: &Depot) -> Member {
    depot.member(|_| async {
        // Longer than a poll, so that rebalances find work in hand.
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(())
    })
}

#[tokio::test]
async fn two_members_share_the_partitions_and_one_takes_over_all() {
    let depot = Depot::open(PARTITIONS).await;
    let count = |member: &Member| member.handle.health().partition_count;
    let first = member(&depot);
    wait_until("the first has all", SOON, || async { count(&first) == 4 }).await;
    let second = member(&depot);
    wait_until("they share", SOON, || async {
        let shares = (count(&first), count(&second));
        if shares == (2, 2) { Ok(()) } else { Err(shares) }
    })
    .await;
    first.leave().await;
    wait_until("the second has all", SOON, || async { count(&second) == 4 }).await;
    second.leave().await;
}

#[tokio::test]
async fn nothing_is_lost_or_overtaken_while_members_join_and_leave() {
    let seed = 20_240_607;
    let mut depot = Depot::open(PARTITIONS).await;
    depot.settings.batch_records_max = 5;
    // Longer than the machine may stand still. A session can't be much longer: a member that leaves while the coordinator
    // holds its request is waited for until its session ends.
    depot.settings.revoke_timeout = Duration::from_secs(10);
    let mut random = StdRng::seed_from_u64(seed);
    let parcels: Vec<String> = (0..40).map(|id| format!("p{id}")).collect();
    let mut members = vec![member(&depot), member(&depot)];
    for round in 0..8_u32 {
        // Some commit only what they give back; the others' commits cross the rebalances.
        let (seldom, often) = (Duration::from_secs(3600), Duration::from_millis(100));
        depot.settings.commit_interval = if random.random_bool(0.5) { seldom } else { often };
        let numbers = round * 25..(round + 1) * 25;
        let batch: Vec<(&str, u32)> = numbers
            .flat_map(|number| parcels.iter().map(move |id| (id.as_str(), number)))
            .collect();
        depot.send(&batch).await;
        if members.len() < 2 || (members.len() < 4 && random.random_bool(0.5)) {
            members.push(member(&depot));
        } else {
            let leaver = members.remove(random.random_range(0..members.len()));
            leaver.leave().await;
        }
        let sent = (usize::try_from(round).unwrap() + 1) * 1000;
        let floor = sent.min(distinct(&depot.done()) + 200);
        wait_until("work goes on", SOON, || async {
            let distinct = distinct(&depot.done());
            if distinct >= floor { Ok(()) } else { Err((floor, distinct)) }
        })
        .await;
    }
    wait_until("all are done", SOON, || async {
        let distinct = distinct(&depot.done());
        if distinct == 8000 { Ok(()) } else { Err(distinct) }
    })
    .await;
    for member in members {
        member.leave().await;
    }
    assert_no_one_overtook(&depot.done(), seed);
    // Who gives partitions back finishes what it has in hand and commits it. Some of that may be too late where the group
    // waits for a member that is gone; without it, all that the seldom ones had done would come again.
    let repeats = depot.done().len() - 8000;
    assert!(repeats <= 400, "seed {seed}: {repeats} records were handled again");
}

fn distinct(done: &[Seen]) -> usize {
    let mut seen: Vec<(&str, u32)> =
        done.iter().map(|seen| (seen.parcel.as_str(), seen.number)).collect();
    seen.sort_unstable();
    seen.dedup();
    seen.len()
}

/// A record may be seen again, but never before all that were sent before it.
fn assert_no_one_overtook(done: &[Seen], seed: u64) {
    let mut next: BTreeMap<&str, u32> = BTreeMap::new();
    for seen in done {
        let expected = next.entry(&seen.parcel).or_default();
        assert!(seen.number <= *expected, "seed {seed}: {seen:?} came before number {expected}");
        *expected = (*expected).max(seen.number + 1);
    }
}
