//! `messaging-drill`: the conductor of a drill, and the processes that it conducts.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use millrace_drills::{member, storm};

#[derive(Debug, Parser)]
#[command(about = "Fault drills of the messaging crates; the last line is the verdict")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One consumer process; the conductor starts it.
    Member(member::Arguments),
    /// Members that come, go, die and freeze while records flow.
    Storm(storm::Arguments),
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Member(arguments) => {
            member::run(arguments).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Storm(arguments) => storm::run(arguments).await,
    }
}
