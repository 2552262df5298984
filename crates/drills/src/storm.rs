//! Members that come, go, die and freeze, and a broker that is killed, while records flow.
//!
//! What happens, and when, is drawn from the seed. What it does to the brokers' and kernels' timing is not: a seed
//! replays the schedule, not the race.

mod crew;
mod fault;
mod weather;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use millrace_testkit::Stack;

use crate::arena::{Arena, End, Shape};
use crate::dice;
use crate::fate::Fates;
use crate::member::{ModeKind, Protocol, SinkKind};
use crate::process::copy_notes;
use weather::Weather;

/// Nothing that is still missing after so long without a movement will come.
const QUIET: Duration = Duration::from_secs(15);
/// How long a record may stand in a retry topic without a movement: the last tier's wait.
const LAST_TIER: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(180);
/// A finished record is committed within this time while the coordinator answers.
const REPLAY_WINDOW: Duration = Duration::from_secs(1);

/// The arguments of `messaging-drill storm`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Replays a schedule; without it one is drawn and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// How long members come and go.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    #[arg(long, value_enum, default_value_t = SinkKind::Inbox)]
    sink: SinkKind,
    #[arg(long, value_enum, default_value_t = Protocol::Classic)]
    protocol: Protocol,
    #[arg(long, value_enum, default_value_t = ModeKind::KeyShared)]
    mode: ModeKind,
    /// Members at once, at most.
    #[arg(long, default_value_t = 4)]
    members: usize,
    /// Records each second.
    #[arg(long, default_value_t = 200)]
    rate: usize,
    #[arg(long, default_value_t = 6)]
    partitions: i32,
    /// Of a thousand records, how many can't be read.
    #[arg(long, default_value_t = 10)]
    garbage: u64,
    /// Leaves the broker alone.
    #[arg(long)]
    calm_broker: bool,
    /// How many milliseconds after its end a record may be repeated when its owner goes; judged by default where nothing
    /// keeps members from committing.
    #[arg(long)]
    replay_window_ms: Option<u64>,
    /// The least level of the members' log lines.
    #[arg(long, default_value = "info")]
    member_log: String,
    /// Where notes and the members' output are kept when the verdict is not ok.
    #[arg(long)]
    keep: Option<std::path::PathBuf>,
}

/// Runs the drill and prints its verdict.
///
/// # Errors
/// When the drill itself fails; a broken promise is a failing exit code behind the verdict.
#[expect(clippy::print_stdout, reason = "the verdict is what the command is for")]
pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let seed = arguments.seed.unwrap_or_else(dice::draw_seed);
    println!("seed {seed}");
    let stack = Stack::private().await?;
    let shape = shape(&arguments);
    let arena = Arc::new(Arena::open(&stack, seed, shape).await?);
    let weather = Weather { arena: &arena, arguments: &arguments };
    let (members, fed) = tokio::join!(weather.blow(seed), weather.feed());
    fed?;
    let quiet = match arguments.mode {
        ModeKind::Shared => LAST_TIER + QUIET,
        ModeKind::KeyShared | ModeKind::Failover | ModeKind::Exclusive => QUIET,
    };
    let end = arena.ended(quiet, PATIENCE).await?;
    if end != End::Complete {
        println!("the end: {end:?}");
    }
    let members = members?;
    arena.stop_all(members).await?;
    let report = arena.judge().await?;
    print!("{report}");
    if let Some(keep) = arguments.keep.as_ref().filter(|_| !report.ok()) {
        copy_notes(arena.directory(), keep)?;
        std::fs::copy(arena.stack.kafka().log(), keep.join("kafka.log"))
            .context("keeping the broker's log")?;
        println!("the notes are in {}", keep.display());
    }
    println!("{}", report.verdict(seed));
    Ok(if report.ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shape(arguments: &Arguments) -> Shape {
    // What keeps a member from committing for longer than the window: a broker that is away, and under the classic
    // protocol a rebalance, from the first member's joining to the leader's assignment.
    let takes_commits = arguments.calm_broker && arguments.protocol == Protocol::Consumer;
    let tiers = arguments.mode == ModeKind::Shared;
    Shape {
        protocol: arguments.protocol,
        mode: arguments.mode,
        partitions: arguments.partitions,
        keys: 40,
        fates: Fates {
            transient_per_mille: 50,
            tiered_per_mille: if tiers { 20 } else { 0 },
            permanent_per_mille: 10,
            slow_per_mille: 20,
            slow_ms: 300,
            work_ms: 1,
        },
        garbage_per_mille: arguments.garbage,
        replay_window: arguments
            .replay_window_ms
            .map(Duration::from_millis)
            .or(takes_commits.then_some(REPLAY_WINDOW)),
        ..Shape::new(arguments.sink)
    }
}
