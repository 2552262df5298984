//! How late a task begins: from its instant to the moment when a worker takes it, both by the database's clock.
//!
//! Ten thousand tasks, each due once, go the whole way: table, dispatcher, outbox, relay, broker, consumer, and a
//! handler that writes one row in the commit that ends the occurrence. Once they are spread evenly over ten seconds, once
//! all of them have the same instant; that one tells how fast a burst is worked off, and has no goal.

use std::time::Duration;

use anyhow::{Result, ensure};
use chrono::TimeDelta;
use millrace_benches::report::{Figure, Goal};
use millrace_benches::suite::progress;

use crate::bench::Bench;
use crate::jobs::Jobs;

const TASKS: i32 = 10_000;
/// One a millisecond.
const INTERVAL: TimeDelta = TimeDelta::milliseconds(1);
/// Worked off before: connections, statements and the topic's partitions are warm.
const WARM_UP: i32 = 200;
/// Between the writing of the tasks and the first instant.
const LEAD: TimeDelta = TimeDelta::seconds(3);
const PATIENCE: Duration = Duration::from_secs(120);
const P99_GOAL_MS: f64 = 1000.0;

/// Milliseconds after the instant.
struct Delays {
    p50: f64,
    p99: f64,
    last: f64,
}

/// What one round found.
struct Round {
    started: Delays,
    dispatched: Delays,
}

pub(crate) async fn spread(bench: &mut Bench) -> Result<Vec<Figure>> {
    let (rounds, promise) = rounds(bench, INTERVAL).await?;
    let figure = |name: &str, of: fn(&Round) -> f64| {
        Figure::new(format!("fire_delay.{name}"), "ms", rounds.iter().map(of).collect())
    };
    let mut figures = [
        figure("p99", |round| round.started.p99).goal(Goal::AtMost(P99_GOAL_MS)),
        figure("p50", |round| round.started.p50),
        figure("last", |round| round.started.last),
        figure("dispatched_p99", |round| round.dispatched.p99),
        figure("dispatched_p50", |round| round.dispatched.p50),
    ];
    Figure::void_all(&mut figures, &promise);
    Ok(figures.to_vec())
}

pub(crate) async fn at_once(bench: &mut Bench) -> Result<Vec<Figure>> {
    let (rounds, promise) = rounds(bench, TimeDelta::zero()).await?;
    let figure = |name: &str, of: fn(&Round) -> f64| {
        Figure::new(format!("at_once.{name}"), "ms", rounds.iter().map(of).collect())
    };
    let mut figures = [
        figure("last_dispatched", |round| round.dispatched.last),
        figure("last_started", |round| round.started.last),
    ];
    Figure::void_all(&mut figures, &promise);
    Ok(figures.to_vec())
}

async fn rounds(bench: &Bench, interval: TimeDelta) -> Result<(Vec<Round>, Result<(), String>)> {
    let (mut rounds, mut promise) = (Vec::new(), Ok(()));
    for number in 1..=bench.rounds.count() {
        let (round, kept) = one_round(bench, interval).await?;
        progress(&format!(
            "  round {number}: p50 {:.1} ms, p99 {:.1} ms, last {:.1} ms",
            round.started.p50, round.started.p99, round.started.last
        ));
        rounds.push(round);
        promise = promise.and(kept);
    }
    Ok((rounds, promise))
}

async fn one_round(bench: &Bench, interval: TimeDelta) -> Result<(Round, Result<(), String>)> {
    let jobs = Jobs::new(&bench.stack).await?;
    jobs.start().await?;
    jobs.put_once("warm", WARM_UP, jobs.now().await?, INTERVAL).await?;
    let warm = usize::try_from(WARM_UP)?;
    jobs.worked(warm, PATIENCE).await?;
    let first = jobs.now().await? + LEAD;
    jobs.put_once("due", TASKS, first, interval).await?;
    jobs.execute("analyze scheduled_task").await?;
    ensure!(jobs.now().await? < first, "the tasks were not written before the first was due");
    let all = warm + usize::try_from(TASKS)?;
    jobs.worked(all, PATIENCE).await?;
    jobs.stop().await?;
    let promise = match jobs.effective_once(all).await? {
        Ok(()) => jobs.published_once(&bench.stack, all).await?,
        broken => broken,
    };
    let round = Round {
        started: delays(&jobs, STARTED).await?,
        dispatched: delays(&jobs, DISPATCHED).await?,
    };
    Ok((round, promise))
}

macro_rules! delays {
    ($column:literal) => {
        concat!(
            "select percentile_disc(array[0.5, 0.99, 1.0]) within group (order by delay) ",
            "from (select (extract(epoch from ",
            $column,
            " - instant) * 1000)::float8 as delay from task_occurrence where task like 'due-%') as d"
        )
    };
}

const STARTED: &str = delays!("started_at");
const DISPATCHED: &str = delays!("dispatched_at");

async fn delays(jobs: &Jobs, query: &'static str) -> Result<Delays> {
    let found: Vec<f64> = sqlx::query_scalar(query).fetch_one(&jobs.owner).await?;
    let [p50, p99, last] = found[..] else { anyhow::bail!("three delays were asked for") };
    Ok(Delays { p50, p99, last })
}
