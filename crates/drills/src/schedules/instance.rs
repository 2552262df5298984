//! One process of a schedule drill: an instance of the service whose tasks they are, or a half of one.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use millrace_coordination::{Leases, Redis};
use millrace_envelope::{ConsumerGroup, TopicName};
use millrace_messaging::Consumer;
use millrace_outbox::Relay;
use millrace_runtime::{CancellationToken, Tasks, sabotage};
use millrace_scheduler::{Dispatcher, DispatcherParts, ScheduleWaker, TaskError, TaskRun, Worker};
use sqlx::PgPool;
use tokio::signal::unix::{SignalKind, signal};

use crate::sections::Sections;

/// The service whose tasks they are.
pub const SERVICE: &str = "drill";
/// What the names of its tasks begin with.
pub const PREFIX: &str = "tick-";
/// The topic of occurrences.
pub const TASKS: &str = "tasks";

const GROUP: ConsumerGroup = ConsumerGroup::from_static("drill.tasks");
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// The longest pause before and after an effect, so that a kill finds somebody in the middle of one.
const THINK_MS: u64 = 20;

/// The arguments of `lease-drill instance`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Its name in rows and leases; a restarted instance has a new one.
    #[arg(long)]
    name: String,
    /// Dispatches what is due, and publishes it.
    #[arg(long)]
    dispatches: bool,
    /// Works on what was published.
    #[arg(long)]
    works: bool,
    /// A setting, as `SECTION__KEY=value`; may be given often.
    #[arg(long)]
    set: Vec<String>,
    /// A switch or a crash point to arm; may be given often.
    #[arg(long)]
    sabotage: Vec<String>,
    /// The least level of its log lines.
    #[arg(long, default_value_t = tracing::Level::WARN)]
    log: tracing::Level,
}

/// Runs until SIGTERM.
///
/// # Errors
/// When it can't start, or doesn't stop in time.
pub async fn run(arguments: Arguments) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    tracing_subscriber::fmt().with_max_level(arguments.log).init();
    for what in &arguments.sabotage {
        sabotage::arm(what).with_context(|| format!("arming {what}"))?;
    }
    let sections = Sections::load(&arguments.set)?;
    let pool = millrace_outbox::connect(&sections.database, &arguments.name)?;
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    let mut waker = ScheduleWaker::default();
    if arguments.dispatches {
        waker = dispatch(&arguments.name, &sections, &pool, &tasks, &stop)?;
    }
    let consumer = match arguments.works {
        false => None,
        true => {
            let worker = Worker::builder(SERVICE, &arguments.name, pool, waker);
            let name = arguments.name.clone();
            let worker = worker.tasks(PREFIX, move |run| fire(run, name.clone())).build();
            tasks.spawn("task-watch", worker.clone().watch(stop.clone()));
            let consumer = Consumer::new(GROUP, TopicName::from_static(TASKS), worker);
            Some(consumer.start(&sections.kafka, &tasks, stop.clone())?)
        }
    };
    terminated.recv().await;
    stop.cancel();
    if let Some(consumer) = consumer {
        tokio::time::timeout(STOP_LIMIT, consumer.closed()).await.context("it didn't close")?;
    }
    let left = tasks.wait(STOP_LIMIT).await;
    anyhow::ensure!(left.is_empty(), "tasks still run: {}", left.join(", "));
    Ok(())
}

fn dispatch(
    name: &str,
    sections: &Sections,
    pool: &PgPool,
    tasks: &Tasks,
    stop: &CancellationToken,
) -> Result<ScheduleWaker> {
    let relay = Relay::new(pool, &sections.kafka, sections.outbox.clone(), name);
    let dispatcher = Dispatcher::new(DispatcherParts {
        service: SERVICE.to_owned(),
        pool: pool.clone(),
        leases: Leases::new(Redis::connect(&sections.redis)?, pool.clone(), name),
        tasks: tasks.clone(),
        relay: relay.waker(),
        settings: sections.scheduler.clone(),
    });
    let waker = dispatcher.waker();
    tasks.spawn("relay", relay.run(stop.clone()));
    tasks.spawn("dispatcher", dispatcher.run(stop.clone()));
    Ok(waker)
}

/// One row, in one commit with the occurrence's end.
async fn fire(run: TaskRun, worker: String) -> Result<(), TaskError> {
    let think = Duration::from_millis(run.number().unsigned_abs() * 7 % THINK_MS);
    tokio::time::sleep(think).await;
    let mut transaction = run.begin().await?;
    let insert = sqlx::query("insert into fired (task, instant, worker) values ($1, $2, $3)");
    insert
        .bind(run.task())
        .bind(run.instant())
        .bind(worker)
        .execute(&mut *transaction)
        .await
        .map_err(TaskError::transient)?;
    tokio::time::sleep(think).await;
    run.finish(transaction).await?;
    Ok(())
}
