//! `lease-drill`: the conductor of the lease and schedule drills, and the processes that it conducts.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use millrace_drills::lease_storm;
use millrace_drills::leases::holder;
use millrace_drills::schedules::instance;
use tokio::runtime::Runtime;

#[derive(Debug, Parser)]
#[command(about = "Fault drills of leases and schedules; the last line is the verdict")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One process that contends for leases; the conductor starts it.
    Holder(holder::Arguments),
    /// One instance of a service with scheduled tasks; the conductor starts it.
    Instance(instance::Arguments),
    /// Races for leases while holders and Redis are hurt, then schedules while their dispatchers are.
    Storm(lease_storm::Arguments),
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Holder(arguments) => {
            // One thread: see the holder's story.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(holder::run(arguments))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Instance(arguments) => {
            threads()?.block_on(instance::run(arguments))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Storm(arguments) => threads()?.block_on(lease_storm::run(arguments)),
    }
}

fn threads() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
