//! One process of a lease drill: it contends for every lease at once.
//!
//! It is what a service would be: leases, guards, a database. Everything comes in by arguments, everything it does goes
//! into its notes. It runs on one thread, so that a process that freezes itself goes on, when it is let go on, exactly
//! where it stood: nothing else of it has run in between and told it what it has missed.

mod freeze;
mod race;
mod sinks;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use millrace_checker::leases::LeaseNote;
use millrace_coordination::{Leases, Redis};
use millrace_runtime::{CancellationToken, Tasks, sabotage};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::board::{self, Board};
use crate::notes::Notes;
use crate::sections::Sections;
pub use freeze::FreezeAt;
use freeze::Freezer;
use race::Race;
use sinks::Sinks;

/// How long a stop may take; a holder that needs longer has hung.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// The arguments of `lease-drill holder`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Its name in notes, rows and leases; a restarted holder has a new one.
    #[arg(long)]
    name: String,
    /// The file of its notes.
    #[arg(long)]
    notes: PathBuf,
    /// The file that says what is to be done.
    #[arg(long)]
    board: PathBuf,
    /// The drill's seed.
    #[arg(long)]
    seed: u64,
    /// How many leases there are.
    #[arg(long)]
    leases: usize,
    /// A setting, as `SECTION__KEY=value`; may be given often.
    #[arg(long)]
    set: Vec<String>,
    /// A switch to arm; may be given often.
    #[arg(long)]
    sabotage: Vec<String>,
    /// The least level of its log lines.
    #[arg(long, default_value_t = tracing::Level::WARN)]
    log: tracing::Level,
    #[command(flatten)]
    habits: Habits,
}

/// How it works.
#[derive(Debug, Clone, Args)]
pub struct Habits {
    /// How long its leases last without a renewal.
    #[arg(long, default_value_t = 600)]
    pub ttl_ms: u64,
    /// How long its work may show no progress before the lease is given up; its time to live when not said.
    #[arg(long)]
    pub progress_ms: Option<u64>,
    /// Units that it does at least before it gives a lease back, if there are so many.
    #[arg(long, default_value_t = 1)]
    pub turn_min: u64,
    /// Units that it does at most.
    #[arg(long, default_value_t = 3)]
    pub turn_max: u64,
    /// The longest pause before a unit.
    #[arg(long, default_value_t = 10)]
    pub think_ms: u64,
    /// Of a thousand units, how many are written by a task that outlives its guard: a packet that was sent and is late.
    #[arg(long, default_value_t = 0)]
    pub late_per_mille: u64,
    /// How late such a write is at most.
    #[arg(long, default_value_t = 0)]
    pub late_ms: u64,
    /// Of a thousand first turns of a round in which work may hang, how many do.
    #[arg(long, default_value_t = 0)]
    pub hang_per_mille: u64,
    /// A file; units from `hold_from` on are not begun before it exists, and their holder says that it gets on.
    #[arg(long)]
    pub gate: Option<PathBuf>,
    /// The first unit that the gate holds.
    #[arg(long, default_value_t = 0)]
    pub hold_from: u64,
    /// Where it freezes itself, once.
    #[arg(long, value_enum)]
    pub freeze_at: Option<FreezeAt>,
    /// At which pass it does so, from 1.
    #[arg(long, default_value_t = 1)]
    pub freeze_pass: u32,
}

/// What all races of one process share.
struct Holder {
    habits: Habits,
    seed: u64,
    notes: Notes<LeaseNote>,
    leases: Leases,
    sinks: Sinks,
    freezer: Freezer,
    tasks: Tasks,
    stop: CancellationToken,
}

/// Contends until SIGTERM.
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
    let notes = Notes::open(&arguments.notes, &arguments.name)?;
    let redis = Redis::connect(&sections.redis)?;
    let freezer = Freezer::new(arguments.habits.freeze_at, arguments.habits.freeze_pass);
    let (tasks, stop) = (Tasks::new(), CancellationToken::new());
    let holder = Arc::new(Holder {
        seed: arguments.seed,
        leases: Leases::new(redis, pool.clone(), &arguments.name),
        sinks: Sinks::new(pool, notes.clone(), freezer.clone()),
        habits: arguments.habits,
        notes,
        freezer,
        tasks: tasks.clone(),
        stop: stop.clone(),
    });
    let (shown, board) = watch::channel(Board::default());
    tasks.spawn("board", board::look(arguments.board, shown, stop.clone()));
    for number in 0..arguments.leases {
        // Names of leases are constants of a program; a drill's are made once.
        let lease: &'static str = Vec::leak(vec![format!("work-{number}")])[0].as_str();
        tasks.spawn(
            format!("race-{number}"),
            Race::new(Arc::clone(&holder), lease).run(board.clone()),
        );
    }
    terminated.recv().await;
    stop.cancel();
    let left = tasks.wait(STOP_LIMIT).await;
    anyhow::ensure!(left.is_empty(), "tasks still run: {}", left.join(", "));
    Ok(())
}
