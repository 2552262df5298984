//! Thirty-two contenders for one lease: how evenly they are served, how long one waits, how many turns there are.
//!
//! Each holds it for a millisecond and asks again at once, so all the others wait. Taken in order, each waits for
//! thirty-one turns; the goal of 60 ms leaves 1.9 ms for a turn, which is the hold of 1.06 ms (a thread's sleep: the
//! runtime's own timer would make more than two of it) and 0.8 ms for handing over: two calls of scripts, a message
//! and two wakings-up. `contenders.hold` tells the hold as it was.
//!
//! In the second form the contenders are spread over four holders with connections and a subscription of their own, as
//! four processes are.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use millrace_benches::report::{Figure, Goal};
use millrace_benches::statistics::of;
use millrace_common::coordination::Leases;
use tokio::time::Instant;

use crate::bare_lease::{PolledLock, connect};
use crate::bench::{Bench, LeaseGround};
use crate::turns::{Arena, Contest, Share, Span};

const LEASE: &str = "bench-contended";
const TTL: Duration = Duration::from_secs(10);
/// Long enough that nobody's wait ends in vain unless something is wrong.
const WAIT: Duration = Duration::from_secs(5);
const HOLD: Duration = Duration::from_millis(1);
const CONTENDERS: usize = 32;
const HOLDERS: usize = 4;
const WARM_UP: Duration = Duration::from_secs(1);
const LENGTH: Duration = Duration::from_secs(4);
const MOST_TO_LEAST_GOAL: f64 = 1.3;
const WORST_WAIT_GOAL_MS: f64 = 60.0;

#[derive(Debug, Clone, Copy)]
enum Side {
    OneHolder,
    FourHolders,
    Polled,
}

const SIDES: [Side; 3] = [Side::OneHolder, Side::FourHolders, Side::Polled];

pub(crate) async fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let ground = bench.lease_ground().await?;
    let mut contests = [const { Vec::new() }; 3];
    for round in 0..bench.rounds.count() {
        for side in bench.rounds.shuffled(SIDES) {
            let contest = match side {
                Side::OneHolder => leased(bench, &ground, 1).await?,
                Side::FourHolders => leased(bench, &ground, HOLDERS).await?,
                Side::Polled => polled(bench, &ground, round).await?,
            };
            contests[side as usize].push(contest);
        }
    }
    let [one, four, polled] = &contests;
    let pairs = one.iter().zip(polled);
    let ratios = pairs.map(|(one, polled)| one.turns_per_second / polled.turns_per_second);
    let ratio = Figure::new("contenders.throughput_ratio", "ratio", ratios.collect());
    let mut figures = figures("contenders", one, true);
    figures.push(void(ratio, one.iter().chain(polled)));
    figures.extend(self::figures("contenders.four_holders", four, true));
    figures.extend(self::figures("contenders.polled", polled, false));
    Ok(figures)
}

/// The polled lock is only looked at; goals are for leases.
fn figures(name: &str, contests: &[Contest], goals: bool) -> Vec<Figure> {
    let figure = |what: &str, unit, goal: Option<f64>, told: fn(&Contest) -> f64| {
        let figure =
            Figure::new(format!("{name}.{what}"), unit, contests.iter().map(told).collect());
        let goal = goal.filter(|_| goals).map(Goal::AtMost);
        void(goal.map_or(figure.clone(), |goal| figure.goal(goal)), contests.iter())
    };
    vec![
        figure("most_to_least", "ratio", Some(MOST_TO_LEAST_GOAL), |c| c.most_to_least),
        figure("worst_wait", "ms", Some(WORST_WAIT_GOAL_MS), |c| c.worst_wait.as_secs_f64() * 1e3),
        figure("failed", "asked", Some(0.0), |c| of(c.failed)),
        figure("turns", "turns/s", None, |c| c.turns_per_second),
        figure("hold", "ms", None, |c| c.hold.as_secs_f64() * 1e3),
    ]
}

fn void<'a>(mut figure: Figure, contests: impl IntoIterator<Item = &'a Contest>) -> Figure {
    figure.void = contests.into_iter().find_map(|contest| contest.broken.clone());
    figure
}

async fn leased(bench: &Bench, ground: &LeaseGround, holders: usize) -> Result<Contest> {
    let holders: Result<Vec<Leases>> =
        (0..holders).map(|number| ground.leases(&format!("bench-{number}"))).collect();
    let holders = holders?;
    let (arena, span) = (Arc::new(Arena::default()), Span::after(WARM_UP, LENGTH));
    let contenders = (0..CONTENDERS).map(|number| {
        let leases = holders[number % holders.len()].clone();
        bench.as_task("contender", contend(leases, Arc::clone(&arena), span))
    });
    finish(try_join_all(contenders).await?, &arena)
}

async fn contend(leases: Leases, arena: Arc<Arena>, span: Span) -> Result<Share> {
    let mut share = Share::default();
    while Instant::now() < span.end {
        let asked = Instant::now();
        let lease = leases.acquire_within(LEASE, TTL, WAIT).await;
        share.note(span, asked, matches!(lease, Ok(Some(_))));
        let Some(lease) = lease? else { continue };
        let entered = arena.enter(Some(lease.token().as_i64()));
        hold().await?;
        arena.leave(entered);
        if !lease.release().await? {
            arena.break_promise("a lease of ten seconds was lost after a millisecond".to_owned());
        }
    }
    Ok(share)
}

async fn polled(bench: &Bench, ground: &LeaseGround, round: usize) -> Result<Contest> {
    let settings = &ground.settings.redis;
    // As many connections as a pool of the product opens.
    let opened = (0..settings.pool_max).map(|_| connect(settings));
    let connections = try_join_all(opened).await?;
    let (arena, span) = (Arc::new(Arena::default()), Span::after(WARM_UP, LENGTH));
    let mut contenders = Vec::new();
    for number in 0..CONTENDERS {
        let connection = &connections[number % connections.len()];
        let seed = u64::try_from(round * CONTENDERS + number).context("a seed")?;
        let lock = PolledLock::open(connection, ground.key("polled"), seed).await?;
        contenders.push(bench.as_task("poller", poll(lock, Arc::clone(&arena), span)));
    }
    finish(try_join_all(contenders).await?, &arena)
}

async fn poll(mut lock: PolledLock, arena: Arc<Arena>, span: Span) -> Result<Share> {
    let mut share = Share::default();
    while Instant::now() < span.end {
        let asked = Instant::now();
        let value = lock.take(span.end).await?;
        share.note(span, asked, value.is_some());
        let Some(value) = value else { continue };
        let entered = arena.enter(None);
        hold().await?;
        arena.leave(entered);
        ensure!(lock.give_back(&value).await?, "the polled lock was lost");
    }
    Ok(share)
}

fn finish(shares: Vec<Result<Share>>, arena: &Arena) -> Result<Contest> {
    let shares: Result<Vec<Share>> = shares.into_iter().collect();
    Ok(arena.result(&shares?, LENGTH))
}

/// The work under the lock: none, for as long as [`HOLD`] says.
async fn hold() -> Result<()> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a thread's sleep is exact, the runtime's is not"
    )]
    let slept = tokio::task::spawn_blocking(|| std::thread::sleep(HOLD));
    slept.await.context("holding the lock")
}
