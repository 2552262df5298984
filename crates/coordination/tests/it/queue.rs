//! Waiting for a lease: in order, whatever becomes of the others that wait.

use std::sync::Mutex;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use millrace_coordination::{Lease, LeaseError, Leases, Redis, WAITERS_MAX};
use millrace_testkit::{Stack, wait_until};
use tokio::time::{Instant, timeout};

use crate::harness::{Bench, LONG, PATIENCE, redis_settings};

const NAME: &str = "expire";

/// After this long a waiter that isn't seen is put out; what takes less wasn't waiting for that.
const WAITER_TTL: Duration = Duration::from_secs(3);

async fn waiters(leases: &Leases) -> usize {
    let list = leases.list().await;
    list.leases.iter().find(|lease| lease.name == NAME).map_or(0, |lease| lease.waiters)
}

async fn wait_for_waiters(leases: &Leases, count: usize) {
    wait_until("so many wait", PATIENCE, || async {
        let waiters = waiters(leases).await;
        if waiters == count { Ok(()) } else { Err(waiters) }
    })
    .await;
}

async fn hold(leases: &Leases) -> Lease {
    leases.acquire(NAME, LONG).await.unwrap().unwrap()
}

/// A waiter whose process dies while it waits: its runtime ends and nothing takes it out of the queue.
async fn dead_waiter(bench: &Bench, alive: &Leases) {
    let settings = redis_settings(bench.redis_port, &bench.key_prefix);
    let database = bench.app.clone();
    let died = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let leases = runtime
            .block_on(async { Leases::new(Redis::connect(&settings).unwrap(), database, "dead") });
        let waiting = leases.acquire_within(NAME, LONG, LONG);
        runtime.block_on(async { timeout(Duration::from_millis(300), waiting).await.is_err() })
    });
    assert!(tokio::task::spawn_blocking(move || died.join().unwrap()).await.unwrap());
    assert_eq!(waiters(alive).await, 1);
}

#[tokio::test]
async fn a_free_lease_is_had_at_once_and_a_held_one_after_its_release() {
    let bench = Bench::new().await;
    let (ann, ben) = (bench.leases("ann"), bench.leases("ben"));
    let first = ann.acquire_within(NAME, LONG, PATIENCE).await.unwrap().unwrap();
    let waiting = ben.acquire_within(NAME, LONG, PATIENCE);
    let (second, ()) = futures::join!(waiting, async {
        wait_for_waiters(&ann, 1).await;
        assert!(first.release().await.unwrap());
    });
    let second = second.unwrap().unwrap();
    assert_eq!(second.holder(), "ben");
    assert_eq!(waiters(&ann).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_taken_in_the_order_in_which_it_was_asked_for() {
    let bench = Bench::new().await;
    // Three processes, as far as Redis can tell.
    let processes = ["ann", "ben", "cid"].map(|holder| bench.process(holder));
    let held = hold(&processes[0]).await;
    let history = Mutex::new(Vec::new());
    let mut waiting = FuturesUnordered::new();
    for turn in 0..12 {
        let leases = &processes[turn % processes.len()];
        let history = &history;
        waiting.push(async move {
            let lease = leases.acquire_within(NAME, LONG, PATIENCE).await.unwrap().unwrap();
            history.lock().unwrap().push((turn, lease.token()));
            assert!(lease.release().await.unwrap());
        });
        let mut queued = std::pin::pin!(wait_for_waiters(&processes[0], turn + 1).fuse());
        futures::select! {
            () = queued => {}
            done = waiting.next() => panic!("{done:?} before the release"),
        }
    }
    let released = Instant::now();
    assert!(held.release().await.unwrap());
    while waiting.next().await.is_some() {}
    drop(waiting);
    let history = history.into_inner().unwrap();
    let turns: Vec<usize> = history.iter().map(|(turn, _)| *turn).collect();
    assert_eq!(turns, (0..12).collect::<Vec<_>>());
    assert!(history.is_sorted_by(|a, b| a.1 < b.1), "{history:?}");
    // Told, not found out by looking: that alone would be half a second each.
    assert!(released.elapsed() < Duration::from_secs(3), "{:?}", released.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn contenders_are_served_equally_often() {
    let bench = Bench::new().await;
    let processes: Vec<Leases> = (0..4).map(|n| bench.process(&format!("p{n}"))).collect();
    let end = Instant::now() + Duration::from_secs(2);
    let served = join_all((0..16).map(|contender| {
        let leases = &processes[contender % processes.len()];
        async move {
            let mut served = 0_u32;
            while Instant::now() < end {
                let lease = leases.acquire_within(NAME, LONG, PATIENCE).await.unwrap().unwrap();
                lease.release().await.unwrap();
                served += 1;
            }
            served
        }
    }))
    .await;
    let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
    assert!(*most <= least + 2 && *least > 0, "{served:?}");
}

#[tokio::test]
async fn a_dead_waiter_blocks_nobody_for_long() {
    let bench = Bench::new().await;
    let ann = bench.leases("ann");
    let held = hold(&ann).await;
    dead_waiter(&bench, &ann).await;
    assert!(held.release().await.unwrap());
    assert!(ann.acquire(NAME, LONG).await.unwrap().is_none(), "plain attempts don't overtake");
    let next = bench.leases("ben").acquire_within(NAME, LONG, PATIENCE).await.unwrap();
    assert_eq!(next.unwrap().holder(), "ben");
    assert_eq!(waiters(&ann).await, 0);
}

#[tokio::test]
async fn a_queue_of_the_dead_vanishes_by_itself() {
    let bench = Bench::new().await;
    let ann = bench.leases("ann");
    let held = hold(&ann).await;
    dead_waiter(&bench, &ann).await;
    assert!(held.release().await.unwrap());
    wait_until("only the fence is left", PATIENCE, || async {
        let keys = bench.keys("*").await;
        if keys.iter().all(|key| key.contains("fence:{")) { Ok(()) } else { Err(keys) }
    })
    .await;
}

#[tokio::test]
async fn a_waiter_that_is_dropped_leaves_the_queue_at_once() {
    let bench = Bench::new().await;
    let (ann, ben) = (bench.leases("ann"), bench.leases("ben"));
    let _held = hold(&ann).await;
    let mut waiting = Box::pin(ben.acquire_within(NAME, LONG, PATIENCE));
    tokio::select! {
        _ = &mut waiting => panic!("it is held"),
        () = wait_for_waiters(&ann, 1) => {}
    }
    let dropped = Instant::now();
    drop(waiting);
    wait_for_waiters(&ann, 0).await;
    assert!(dropped.elapsed() < WAITER_TTL, "{:?}", dropped.elapsed());
}

#[tokio::test]
async fn a_wait_that_is_over_says_so_in_time_and_leaves_the_queue() {
    let bench = Bench::new().await;
    let ann = bench.leases("ann");
    let _held = hold(&ann).await;
    let asked = Instant::now();
    let wait = Duration::from_millis(200);
    assert!(bench.leases("ben").acquire_within(NAME, LONG, wait).await.unwrap().is_none());
    assert!(asked.elapsed() >= wait);
    assert!(asked.elapsed() < wait + Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(waiters(&ann).await, 0);
}

/// No message is sent when a lease ends by itself or with its Redis; the head has to look.
#[tokio::test]
async fn the_head_finds_a_lease_that_ended_without_a_word() {
    let bench = Bench::new().await;
    let (ann, ben) = (bench.leases("ann"), bench.leases("ben"));
    let _held = hold(&ann).await;
    let (next, ()) = futures::join!(ben.acquire_within(NAME, LONG, PATIENCE), async {
        wait_for_waiters(&ann, 1).await;
        bench.delete("lease:*").await;
    });
    assert!(next.unwrap().is_some());
}

#[tokio::test]
async fn a_full_queue_takes_no_more() {
    let bench = Bench::new().await;
    let (ann, ben) = (bench.leases("ann"), bench.leases("ben"));
    let _held = hold(&ann).await;
    let waiting = ben.acquire_within(NAME, LONG, PATIENCE);
    let full = async {
        wait_for_waiters(&ann, 1).await;
        let fill = "local time = redis.call('time')
            for _, set in ipairs(redis.call('keys', ARGV[1])) do
                for n = 2, ARGV[2] do
                    redis.call('zadd', set, string.find(set, 'seen') and time[1] * 1000 or n, 'w' .. n)
                end
            end";
        for keys in ["queue:*", "seen:*"] {
            let keys = bench.redis.key(keys);
            bench.eval(fill, &[&keys, &WAITERS_MAX.to_string()]).await;
        }
        assert_eq!(waiters(&ann).await, WAITERS_MAX);
        bench.leases("cid").acquire_within(NAME, LONG, PATIENCE).await
    };
    tokio::select! {
        _ = waiting => panic!("it is held"),
        answer = full => {
            let error = answer.unwrap_err();
            assert!(matches!(error, LeaseError::QueueFull { lease: NAME }), "{error}");
        }
    }
}

/// Redis gives the lease, but whoever asked is gone: it must not stay taken until it ends.
#[tokio::test]
async fn a_lease_that_nobody_heard_of_is_given_back() {
    let stack = Stack::private().await.unwrap();
    let bench = Bench::on(&stack).await;
    let ann = bench.leases("ann");
    assert!(hold(&ann).await.release().await.unwrap());
    stack.redis().pause();
    timeout(Duration::from_millis(100), ann.acquire(NAME, LONG)).await.unwrap_err();
    stack.redis().resume();
    let asked = Instant::now();
    let ben = bench.leases("ben").acquire_within(NAME, LONG, LONG).await.unwrap();
    assert!(ben.is_some());
    assert!(asked.elapsed() < LONG / 2, "{:?}", asked.elapsed());
}
