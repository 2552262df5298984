//! What commits late, or is given back, behind thousands of rows that are gone already.

use std::time::Duration;

use futures::future::join_all;
use millrace_outbox::aside::{Which, release};
use millrace_outbox::{OutboxRecord, append};
use millrace_runtime::{CancellationToken, Tasks};
use millrace_testkit::wait_until;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{Bench, PATIENCE, assert_in_order, step, steps};

/// So many are deleted before the relay asks who still writes; twice as many make sure that it did.
const MANY: u32 = 2560;

fn many(name: &str) -> Vec<OutboxRecord> {
    (0..MANY).map(|number| step(&format!("{name}-{}", number % 64), number / 64 + 1)).collect()
}

async fn append_many(bench: &Bench, name: &str) {
    for records in many(name).chunks(512) {
        bench.append(records).await;
    }
}

#[tokio::test]
async fn a_row_that_commits_behind_thousands_that_are_gone_is_published_before_its_successor() {
    let bench = Bench::new().await;
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    let relay = bench.relay(&[]);
    let waker = relay.waker();
    tasks.spawn("relay", relay.run(stop.clone()));
    for round in 0..2 {
        // Before this one nothing is left; the late row's number lies in front of all that follows.
        append_many(&bench, &format!("before-{round}")).await;
        let mut late = bench.app.begin().await.unwrap();
        append(&mut late, &[step("late", round * 2 + 1)]).await.unwrap();
        append_many(&bench, &format!("after-{round}")).await;
        waker.wake();
        bench.drained().await;
        late.commit().await.unwrap();
        bench.append(&[step("late", round * 2 + 2)]).await;
        waker.wake();
        bench.drained().await;
    }
    stop.cancel();
    assert!(tasks.wait(PATIENCE).await.is_empty());
    let records = bench.published().await;
    assert_in_order(&records, &["late".to_owned()], 4);
    assert_eq!(records.len(), 4 * MANY as usize + 4, "nothing is repeated");
}

#[tokio::test]
async fn what_is_released_behind_thousands_that_are_gone_goes_before_anything_newer() {
    let bench = Bench::new().await;
    sqlx::query(
        "insert into outbox_aside (topic, aggregateid, failures, reason) \
         values ('walk-events', 'bad', 1, 'a test')",
    )
    .execute(&bench.owner)
    .await
    .unwrap();
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    // No poll would find it by chance.
    let relay = bench.relay(&[("POLL_INTERVAL", "60s")]);
    let waker = relay.waker();
    tasks.spawn("relay", relay.run(stop.clone()));
    bench.append(&[step("bad", 1), step("bad", 2)]).await;
    append_many(&bench, "good").await;
    waker.wake();
    wait_until("only what is set aside is left", PATIENCE, || async {
        let parked = bench.count("select count(*) from outbox where bucket < 0").await;
        if (parked, bench.waiting().await) == (2, 2) { Ok(()) } else { Err(parked) }
    })
    .await;
    let mut conn = bench.app.acquire().await.unwrap();
    assert_eq!(release(&mut conn, Which::All).await.unwrap().rows, 2);
    bench.append(&[step("bad", 3)]).await;
    waker.wake();
    bench.drained().await;
    stop.cancel();
    assert!(tasks.wait(PATIENCE).await.is_empty());
    let published = steps(&bench.published().await);
    let bad: Vec<u32> =
        published.iter().filter(|(walk, _)| walk == "bad").map(|(_, number)| *number).collect();
    assert_eq!(bad, [1, 2, 3]);
}

/// Transactions of all lengths cross each other and the relay's looks, with thousands of rows between their numbers.
#[tokio::test]
async fn no_row_is_passed_over_whatever_commits_when() {
    const STEPS: u32 = 20;
    let seed: u64 = rand::rng().random();
    println!("seed {seed}");
    let bench = Bench::new().await;
    let walks: Vec<String> = (0..6).map(|walk| format!("walk-{walk}")).collect();
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    let mut wakers = Vec::new();
    for name in ["first", "second"] {
        let relay = bench.relay(&[("CLAIM_MAX", "100ms"), ("MEASURE_INTERVAL", "20ms")]);
        wakers.push(relay.waker());
        tasks.spawn(name, relay.run(stop.clone()));
    }
    let walkers = walks.iter().zip(seed..).map(|(walk, seed)| {
        let (bench, wakers) = (&bench, &wakers);
        let mut draw = StdRng::seed_from_u64(seed);
        async move {
            for number in 1..=STEPS {
                let mut transaction = bench.owner.begin().await.unwrap();
                append(&mut transaction, &[step(walk, number)]).await.unwrap();
                let pause = f64::from(draw.random_range(0..100_u32)) / 1000.0;
                let sleep = sqlx::query("select pg_sleep($1)").bind(pause);
                sleep.execute(&mut *transaction).await.unwrap();
                transaction.commit().await.unwrap();
                wakers[draw.random_range(0..2_usize)].wake();
            }
        }
    });
    let crowd = async {
        for round in 0..3 {
            for records in many(&format!("crowd-{round}")).chunks(128) {
                bench.append(records).await;
                wakers[0].wake();
            }
        }
    };
    let (_, ()) = tokio::join!(join_all(walkers), crowd);
    wait_until("the outbox is empty", Duration::from_secs(15), || async {
        bench.waiting().await == 0
    })
    .await;
    stop.cancel();
    assert!(tasks.wait(PATIENCE).await.is_empty());
    let records = bench.published().await;
    assert_in_order(&records, &walks, STEPS);
    assert_eq!(records.len(), walks.len() * STEPS as usize + 3 * MANY as usize);
}
