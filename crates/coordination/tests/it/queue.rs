//! Waiting for a lease: in order, whatever becomes of the others that wait.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use millrace_coordination::{Lease, LeaseError, Leases, Redis, WAITERS_MAX};
use millrace_testkit::{Stack, wait_until};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::harness::{Bench, LONG, PATIENCE, redis_settings};

const NAME: &str = "expire";

/// After this long a waiter that isn't seen is put out.
const WAITER_TTL: Duration = Duration::from_secs(3);

/// Who isn't the head looks twice a second: what takes clearly less after it has queued up, it was told.
const TOLD_WITHIN: Duration = Duration::from_millis(300);

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
    let (die, told_to) = oneshot::channel();
    let died = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let leases = runtime
            .block_on(async { Leases::new(Redis::connect(&settings).unwrap(), database, "dead") });
        let waiting = leases.acquire_within(NAME, LONG, LONG);
        runtime.block_on(async {
            tokio::select! {
                _ = waiting => panic!("it is held"),
                told = told_to => told.unwrap(),
            }
        });
    });
    wait_for_waiters(alive, 1).await;
    die.send(()).unwrap();
    tokio::task::spawn_blocking(move || died.join().unwrap()).await.unwrap();
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
    // A slow machine makes a message late now and then; who only looks is late every time.
    wait_until("all were told of their turns", PATIENCE, || async {
        let took = twelve_turns(&processes).await;
        if took < TOLD_WITHIN { Ok(()) } else { Err(took) }
    })
    .await;
}

/// How long it takes from the release until the last one, who has just queued up, is done.
async fn twelve_turns(processes: &[Leases]) -> Duration {
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
    let took = released.elapsed();
    drop(waiting);
    let history = history.into_inner().unwrap();
    let turns: Vec<usize> = history.iter().map(|(turn, _)| *turn).collect();
    assert_eq!(turns, (0..12).collect::<Vec<_>>());
    assert!(history.is_sorted_by(|a, b| a.1 < b.1), "{history:?}");
    took
}

/// Whose turn it was, of so many contenders that ask again at once.
async fn turns_of_contenders(bench: &Bench, count: usize, length: Duration) -> Vec<usize> {
    let processes: Vec<Leases> = (0..4).map(|n| bench.process(&format!("p{n}"))).collect();
    // Connections are open before it begins.
    for leases in &processes {
        assert!(hold(leases).await.release().await.unwrap());
    }
    let end = Instant::now() + length;
    let turns = Mutex::new(Vec::new());
    join_all((0..count).map(|contender| {
        let (leases, turns) = (&processes[contender % processes.len()], &turns);
        async move {
            while Instant::now() < end {
                let lease = leases.acquire_within(NAME, LONG, PATIENCE).await.unwrap().unwrap();
                turns.lock().unwrap().push(contender);
                assert!(lease.release().await.unwrap());
            }
        }
    }))
    .await;
    turns.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn contenders_are_served_equally_often() {
    const CONTENDERS: usize = 16;
    let bench = Bench::new().await;
    let turns = turns_of_contenders(&bench, CONTENDERS, Duration::from_secs(2)).await;
    // Who gets on slowly asks late and misses a round, so the counts differ a little. But in sixteen turns in a row
    // nearly all sixteen have theirs; of a lock that whoever comes first gets, about ten have.
    let rounds: Vec<usize> = turns
        .chunks_exact(CONTENDERS)
        .map(|round| round.iter().collect::<BTreeSet<_>>().len())
        .collect();
    let served: usize = rounds.iter().sum();
    assert!(!rounds.is_empty() && served >= 13 * rounds.len(), "{rounds:?}");
    let counts = (0..CONTENDERS).map(|one| turns.iter().filter(|turn| **turn == one).count());
    let counts: Vec<usize> = counts.collect();
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(*most <= 2 * least + 2 && *least > 0, "{counts:?}");
}

#[tokio::test]
async fn a_dead_waiter_blocks_nobody_for_long() {
    let bench = Bench::new().await;
    let ann = bench.leases("ann");
    let held = hold(&ann).await;
    let alive = Instant::now();
    dead_waiter(&bench, &ann).await;
    assert!(held.release().await.unwrap());
    let plain = ann.acquire(NAME, LONG).await.unwrap();
    // On a machine that stood still meanwhile it may have been put out.
    let in_time = alive.elapsed() < WAITER_TTL;
    assert!(plain.is_none() || !in_time, "plain attempts don't overtake");
    if let Some(lease) = plain {
        assert!(lease.release().await.unwrap());
    }
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
    drop(waiting);
    // Nobody looks who could put it out, and the queue no longer ends by itself.
    let keep = "for _, k in ipairs(redis.call('keys', ARGV[1])) do redis.call('persist', k) end";
    bench.eval(keep, &[&bench.redis.key("queue:*")]).await;
    wait_for_waiters(&ann, 0).await;
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
    assert!(asked.elapsed() < wait + LONG / 5, "{:?}", asked.elapsed());
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
    let waiting = ben.acquire_within(NAME, LONG, LONG);
    let cid = bench.leases("cid");
    let full = async {
        wait_for_waiters(&ann, 1).await;
        let fill = "local time = redis.call('time')
            for _, set in ipairs(redis.call('keys', ARGV[1])) do
                for n = 2, ARGV[2] do
                    redis.call('zadd', set, string.find(set, 'seen') and time[1] * 1000 or n, 'w' .. n)
                end
            end";
        // Again where a slow machine took so long that they were put out before cid asked.
        wait_until("cid is refused", PATIENCE, || async {
            for keys in ["queue:*", "seen:*"] {
                let keys = bench.redis.key(keys);
                bench.eval(fill, &[&keys, &WAITERS_MAX.to_string()]).await;
            }
            let waiters = waiters(&ann).await;
            let answer = cid.acquire_within(NAME, LONG, Duration::from_millis(1)).await;
            match answer {
                Err(LeaseError::QueueFull { lease: NAME }) if waiters == WAITERS_MAX => Ok(()),
                other => Err(format!("{other:?} beside {waiters}")),
            }
        })
        .await;
    };
    tokio::select! {
        _ = waiting => panic!("it is held"),
        () = full => {}
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
