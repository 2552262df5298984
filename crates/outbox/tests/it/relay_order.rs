//! Order per aggregate, whatever commits when and whoever publishes.

use std::collections::BTreeSet;

use futures::future::join_all;
use millrace_outbox::append;
use millrace_runtime::{CancellationToken, Tasks};
use millrace_testkit::wait_until;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::{Bench, PATIENCE, assert_in_order, step, steps};

#[tokio::test]
async fn a_transaction_that_commits_late_is_not_skipped() {
    let bench = Bench::new().await;
    let relay = bench.relay(&[]);
    let mut older = bench.app.begin().await.unwrap();
    append(&mut older, &[step("old", 1)]).await.unwrap();
    // Drawn later, committed earlier: every bucket has rows above the open one's number.
    let younger: Vec<_> = (0..64).map(|walk| step(&format!("young-{walk}"), 1)).collect();
    bench.append(&younger).await;

    assert_eq!(relay.relay_once().await.unwrap(), 64);
    older.commit().await.unwrap();
    assert_eq!(relay.relay_once().await.unwrap(), 1);

    assert!(steps(&bench.published().await).contains(&("old".to_owned(), 1)));
    bench.drained().await;
}

#[tokio::test]
async fn two_relays_keep_every_aggregates_order_under_concurrent_appends() {
    const SEED: u64 = 20_240_607;
    const STEPS: u32 = 40;
    let bench = Bench::new().await;
    sqlx::query("create table walk (id text primary key, number int not null)")
        .execute(&bench.owner)
        .await
        .unwrap();
    let walks: Vec<String> = (0..6).map(|walk| format!("walk-{walk}")).collect();
    for walk in &walks {
        let insert = sqlx::query("insert into walk values ($1, 0)").bind(walk);
        insert.execute(&bench.owner).await.unwrap();
    }
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    // Short claims and retries, so that buckets change hands all the time.
    let restless = [("CLAIM_MAX", "5ms"), ("CONTENDED_RETRY", "2ms"), ("MEASURE_INTERVAL", "5ms")];
    let mut wakers = Vec::new();
    for name in ["first", "second"] {
        let relay = bench.relay(&restless);
        wakers.push(relay.waker());
        tasks.spawn(name, relay.run(stop.clone()));
    }

    let twice = walks.iter().chain(&walks);
    let walkers = twice.zip(SEED..).map(|(walk, seed)| {
        let (bench, wakers) = (&bench, &wakers);
        let mut draw = StdRng::seed_from_u64(seed);
        async move {
            for _ in 0..STEPS / 2 {
                let mut transaction = bench.owner.begin().await.unwrap();
                // Locks the aggregate's row; only then may its event be appended.
                let number: i32 = sqlx::query_scalar(
                    "update walk set number = number + 1 where id = $1 returning number",
                )
                .bind(walk)
                .fetch_one(&mut *transaction)
                .await
                .unwrap();
                let number = u32::try_from(number).unwrap();
                append(&mut transaction, &[step(walk, number)]).await.unwrap();
                let pause = f64::from(draw.random_range(0..5_u32)) / 1000.0;
                sqlx::query("select pg_sleep($1)")
                    .bind(pause)
                    .execute(&mut *transaction)
                    .await
                    .unwrap();
                transaction.commit().await.unwrap();
                wakers[draw.random_range(0..2_usize)].wake();
            }
        }
    });
    join_all(walkers).await;
    bench.drained().await;
    stop.cancel();
    assert!(tasks.wait(PATIENCE).await.is_empty());

    let records = bench.published().await;
    assert_in_order(&records, &walks, STEPS);
    assert_eq!(
        records.len(),
        walks.len() * STEPS as usize,
        "nobody was killed, so nothing is repeated"
    );
}

#[tokio::test]
async fn a_killed_relay_repeats_but_loses_nothing_and_turns_nothing_around() {
    const STEPS: u32 = 150;
    let bench = Bench::new().await;
    let walks: Vec<String> = (0..8).map(|walk| format!("walk-{walk}")).collect();
    for number in 1..=STEPS {
        let records: Vec<_> = walks.iter().map(|walk| step(walk, number)).collect();
        bench.append(&records).await;
    }
    let tasks = Tasks::new();
    let mut left = bench.waiting().await;
    while left > 0 {
        let relay = bench.relay(&[("BUCKET_BATCH_MAX", "20"), ("CONTENDED_RETRY", "5ms")]);
        let running = tasks.spawn("relay", relay.run(CancellationToken::new()));
        // Killed as soon as it has deleted something, in the middle of what follows.
        wait_until("some rows are gone", PATIENCE, || async { bench.waiting().await < left }).await;
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        left = bench.waiting().await;
    }

    let records = bench.published().await;
    assert_in_order(&records, &walks, STEPS);
    let ids: BTreeSet<String> =
        records.iter().map(|record| record.header_text("ce_id").unwrap()).collect();
    assert_eq!(ids.len(), walks.len() * STEPS as usize, "a repeat has the id of the first");
}
