//! One consumer process of a drill.
//!
//! It is what an application would be: settings, a handler, a consumer, perhaps a database with a relay. Everything
//! comes in by arguments, everything it does goes into its notes, and SIGTERM ends it in the orderly way.

mod consume;
mod gate;
mod settings;
mod sink;
mod sorter;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use millrace_messaging::{Producer, ProducerProfile};
use millrace_outbox::{Relay, RelayWaker};
use millrace_runtime::{CancellationToken, Tasks, sabotage};
use sqlx::PgPool;
use tokio::signal::unix::{SignalKind, signal};

use crate::fate::Fates;
use crate::notes::Notes;
use gate::Gate;
pub(crate) use settings::Sections;
use sink::Sink;
use sorter::Sorter;

/// How long a stop may take; a member that needs longer has hung.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// Where effects go, and what guards them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SinkKind {
    /// Into the notes, guarded by nothing.
    Notes,
    /// Into a database, with inbox and outbox in the same transaction.
    Inbox,
    /// Into a database, guarded by epochs alone.
    Epochs,
}

/// How the group shares the work out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Members work out the assignment.
    Classic,
    /// The broker does (KIP-848).
    Consumer,
}

/// What one member promises about order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeKind {
    /// Ordered by key.
    KeyShared,
    /// Ordered by partition.
    Failover,
    /// Not ordered; failures go through retry topics.
    Shared,
    /// Ordered by key, one fixed instance id.
    Exclusive,
}

/// The arguments of `messaging-drill member`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Its name in notes and rows; a restarted member has a new one.
    #[arg(long)]
    name: String,
    /// The file of its notes.
    #[arg(long)]
    notes: PathBuf,
    /// The drill's seed.
    #[arg(long)]
    seed: u64,
    #[arg(long, value_enum)]
    sink: SinkKind,
    #[arg(long, value_enum, default_value_t = Protocol::Classic)]
    protocol: Protocol,
    #[arg(long, value_enum, default_value_t = ModeKind::KeyShared)]
    mode: ModeKind,
    /// Records in hand at once.
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// A key of `[kafka]`, as `KEY=value`; may be given often.
    #[arg(long)]
    kafka: Vec<String>,
    /// A key of `[database]`, as `KEY=value`; may be given often.
    #[arg(long)]
    database: Vec<String>,
    /// A switch or a crash point to arm; may be given often.
    #[arg(long)]
    sabotage: Vec<String>,
    /// Freezes itself between inbox insert (or epoch check) and commit of its nth effect.
    #[arg(long, default_value_t = 0)]
    freeze_before_commit: u32,
    /// The least level of its log lines.
    #[arg(long, default_value_t = tracing::Level::INFO)]
    log: tracing::Level,
    #[command(flatten)]
    gate: Gate,
    #[command(flatten)]
    fates: Fates,
}

/// Consumes until SIGTERM.
///
/// # Errors
/// When it can't start, or doesn't stop in time.
pub async fn run(arguments: Arguments) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    tracing_subscriber::fmt().with_max_level(arguments.log).init();
    for what in &arguments.sabotage {
        sabotage::arm(what).with_context(|| format!("arming {what}"))?;
    }
    let sections = Sections::load(&arguments.kafka, &arguments.database)?;
    let notes = Notes::open(&arguments.notes, &arguments.name)?;
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    let producer = Producer::new(&sections.kafka, ProducerProfile::Durable)?;
    let store = Store::open(&arguments, &sections, &tasks, &stop)?;
    let sink = Sink::new(&arguments, store.as_ref(), &producer, &tasks);
    let sorter = Sorter::new(notes.clone(), arguments.seed, arguments.fates, sink);
    let context = consume::Context {
        settings: &sections.kafka,
        arguments: &arguments,
        store,
        tasks: &tasks,
        stop: stop.clone(),
    };
    let handle = context.start(Arc::new(sorter), notes)?;
    terminated.recv().await;
    stop.cancel();
    tokio::time::timeout(STOP_LIMIT, handle.closed()).await.context("the consumer didn't close")?;
    // Its last listener ends with it.
    drop(handle);
    let left = tasks.wait(STOP_LIMIT).await;
    anyhow::ensure!(left.is_empty(), "tasks still run: {}", left.join(", "));
    Ok(())
}

/// The database of a member that has one, with a relay that runs.
#[derive(Clone)]
struct Store {
    pool: PgPool,
    waker: RelayWaker,
}

impl Store {
    fn open(
        arguments: &Arguments,
        sections: &Sections,
        tasks: &Tasks,
        stop: &CancellationToken,
    ) -> Result<Option<Self>> {
        if arguments.sink == SinkKind::Notes {
            return Ok(None);
        }
        let pool = millrace_outbox::connect(&sections.database, &arguments.name)?;
        let relay = Relay::new(&pool, &sections.kafka, sections.outbox.clone(), &arguments.name);
        let waker = relay.waker();
        tasks.spawn("relay", relay.run(stop.clone()));
        Ok(Some(Self { pool, waker }))
    }
}
