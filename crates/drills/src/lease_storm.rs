//! `lease-drill storm`: races for leases under faults, schedules under kills, and one verdict over both.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use millrace_testkit::Stack;

use crate::dice;
use crate::leases::storm::{Forecast, Outcome, Size, blow};
use crate::process::copy_notes;
use crate::schedules;

/// The arguments of `lease-drill storm`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Replays faults, victims and habits; without it one is drawn and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Races for a lease, each through one fault.
    #[arg(long, default_value_t = 2000)]
    runs: usize,
    /// Races at once.
    #[arg(long, default_value_t = 50)]
    leases: usize,
    /// Processes that contend.
    #[arg(long, default_value_t = 3)]
    holders: usize,
    /// Tasks that fire each second.
    #[arg(long, default_value_t = 40)]
    tasks: usize,
    /// How long they do, while a dispatcher is killed each second.
    #[arg(long, default_value_t = 30)]
    seconds: usize,
    /// Where notes and the processes' output are kept when the verdict is not ok.
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Runs the drill and prints its verdict.
///
/// # Errors
/// When the drill itself fails; a broken promise is a failing exit code behind the verdict.
#[expect(clippy::print_stdout, reason = "the verdict is what the command is for")]
pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { seed, runs, leases, holders, tasks, seconds, keep } = arguments;
    let seed = seed.unwrap_or_else(dice::draw_seed);
    println!("seed {seed}");
    let stack = Stack::private().await?;
    let began = Instant::now();
    let forecast = Forecast::draw(seed, runs.div_ceil(leases.max(1)));
    let size = Size { leases, holders };
    let Outcome { report: raced, faults, ground, .. } =
        Box::pin(blow(&stack, seed, size, forecast)).await?;
    for (fault, runs) in &faults {
        println!("{fault:>20} {runs:>6} runs");
    }
    print!("{raced}");
    println!("leases, {} s: {}, {}", began.elapsed().as_secs(), raced.word(), raced.ledger);
    let began = Instant::now();
    let schedules = schedules::ground::Ground::open(&stack).await?;
    let size = schedules::ground::Size { tasks, seconds };
    let fired = Box::pin(schedules::ground::blow(&schedules, size, seed)).await?;
    print!("{fired}");
    println!("schedules, {} s: {}, {}", began.elapsed().as_secs(), fired.word(), fired.ledger);
    let ok = raced.ok() && fired.ok();
    if let Some(keep) = keep.filter(|_| !ok) {
        copy_notes(ground.directory(), &keep)?;
        copy_notes(schedules.directory(), &keep)?;
        println!("the notes are in {}", keep.display());
    }
    let word = match (raced.ok(), fired.ok()) {
        (true, _) => fired.word(),
        (false, true) => raced.word(),
        (false, false) => format!("{}, {}", raced.word(), fired.word()),
    };
    println!("verdict: {word}, {} {} seed={seed}", raced.ledger, fired.ledger);
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
