//! One dispatcher and a backlog of tasks that are due, beside a loop that inserts the rows which the dispatcher made.
//!
//! Each task is hourly and due once. The relay rests, so the occurrences and their messages stay where they can be
//! counted: after each measurement every task has one occurrence, and each occurrence one message. Before each
//! measurement the tables are emptied, filled and vacuumed, so that no side pays for what the one before left behind.

use std::time::Duration;

use anyhow::{Context, Result};
use millrace_benches::report::{Figure, Goal};
use millrace_benches::statistics::of;
use millrace_benches::suite::progress;
use millrace_common::scheduler::{Dispatcher, TaskForm};
use tokio::time::Instant;

use crate::bare_dispatch::Rows;
use crate::bench::Bench;
use crate::jobs::{Due, Jobs};

const TASKS: usize = 20_000;
const HOUR: Duration = Duration::from_secs(60 * 60);
const GOAL: f64 = 5_000.0;

#[derive(Debug, Clone, Copy)]
enum Side {
    Product,
    Bare,
}

pub(crate) async fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let jobs = Jobs::new(&bench.stack).await?;
    let dispatcher = jobs.dispatcher()?;
    // The first run makes the rows for the bare side, and warms up; so does the bare side's first.
    let (_, mut promise) = dispatch(bench, &jobs, &dispatcher).await?;
    let rows = Rows::take(&jobs.owner).await?;
    let (_, kept) = insert(bench, &jobs, &rows).await?;
    promise = promise.and(kept);
    let (mut product, mut bare) = (Vec::new(), Vec::new());
    for round in 1..=bench.rounds.count() {
        for side in bench.rounds.shuffled([Side::Product, Side::Bare]) {
            let (rate, kept) = match side {
                Side::Product => dispatch(bench, &jobs, &dispatcher).await?,
                Side::Bare => insert(bench, &jobs, &rows).await?,
            };
            progress(&format!("  round {round}, {side:?}: {rate:.0}/s"));
            promise = promise.and(kept);
            match side {
                Side::Product => product.push(rate),
                Side::Bare => bare.push(rate),
            }
        }
    }
    let ratios = product.iter().zip(&bare).map(|(product, bare)| product / bare).collect();
    let mut figures = [
        Figure::new("dispatch.product", "tasks/s", product).goal(Goal::AtLeast(GOAL)),
        Figure::new("dispatch.bare", "tasks/s", bare),
        Figure::new("dispatch.ratio", "ratio", ratios),
    ];
    Figure::void_all(&mut figures, &promise);
    Ok(figures.to_vec())
}

type Measured = (f64, Result<(), String>);

async fn dispatch(bench: &Bench, jobs: &Jobs, dispatcher: &Dispatcher) -> Result<Measured> {
    empty(jobs).await?;
    let now = jobs.now().await?;
    let due = |number| Due { name: format!("task-{number}"), form: TaskForm::every(HOUR), at: now };
    jobs.put((0..TASKS).map(due).collect()).await?;
    settle(jobs).await?;
    let (one, started) = (dispatcher.clone(), Instant::now());
    let dispatched = bench.as_task("dispatch", async move { one.dispatch_once().await }).await??;
    let seconds = started.elapsed().as_secs_f64();
    let again = dispatcher.dispatch_once().await?;
    let promise = if (dispatched, again) == (Some(TASKS), Some(0)) {
        jobs.dispatched_once(TASKS).await?
    } else {
        Err(format!("{dispatched:?} of {TASKS} were dispatched, and then {again:?} more"))
    };
    Ok((of(TASKS) / seconds, promise))
}

async fn insert(bench: &Bench, jobs: &Jobs, rows: &Rows) -> Result<Measured> {
    empty(jobs).await?;
    settle(jobs).await?;
    let (rows, pool, started) = (rows.clone(), jobs.app.clone(), Instant::now());
    bench.as_task("insert", async move { rows.insert(&pool).await }).await??;
    let seconds = started.elapsed().as_secs_f64();
    Ok((of(TASKS) / seconds, jobs.dispatched_once(TASKS).await?))
}

async fn empty(jobs: &Jobs) -> Result<()> {
    jobs.execute("truncate scheduled_task, task_occurrence, outbox").await
}

async fn settle(jobs: &Jobs) -> Result<()> {
    for statement in [
        "vacuum (analyze) scheduled_task",
        "vacuum (analyze) task_occurrence",
        "vacuum (analyze) outbox",
    ] {
        jobs.execute(statement).await.context("settling")?;
    }
    Ok(())
}
