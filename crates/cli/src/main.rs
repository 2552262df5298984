//! `millrace`: what operators do to a Millrace installation from a shell or a job.
#![expect(clippy::print_stdout, reason = "a command's answer goes to standard output")]

mod docs;
mod epochs;
mod lease;
mod migrate;
mod outbox;
mod schedule;
mod settings;
mod topics;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Operates a Millrace installation. Connection settings come from --config and from the environment, by the
/// names in docs/configuration.md with the prefix MILLRACE, e.g. MILLRACE__KAFKA__BROKERS.
#[derive(Parser)]
#[command(name = "millrace", version)]
struct Arguments {
    /// A TOML file with `[kafka]` and `[database]` settings; the environment overrides it.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes topics, or says how they differ from the table in docs/topics.md.
    #[command(subcommand)]
    Topics(topics::Command),
    /// Brings one service's database up to date, as the owner role.
    Migrate(migrate::Arguments),
    /// Looks after the outbox of one service's database.
    #[command(subcommand)]
    Outbox(outbox::Command),
    /// Looks after the epochs of partition owners in one service's database.
    #[command(subcommand)]
    Epochs(epochs::Command),
    /// Looks at the leases of a running service.
    #[command(subcommand)]
    Lease(lease::Command),
    /// Looks at the tasks of a running service, and changes them.
    Schedule(Box<schedule::Arguments>),
    /// Writes the generated pages of docs/.
    Docs {
        /// Writes nothing; fails when a page isn't what the code says.
        #[arg(long)]
        check: bool,
        /// Where the pages are.
        #[arg(long, default_value = "docs")]
        folder: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments).await {
        Ok(code) => code,
        Err(problem) => {
            complain(&problem);
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Topics(command) => topics::run(command, settings::kafka(arguments.config)?).await,
        Command::Migrate(command) => {
            migrate::run(&command, &settings::database(arguments.config)?).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Outbox(command) => {
            outbox::run(&command, &settings::database(arguments.config)?).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Epochs(command) => {
            epochs::run(&command, &settings::database(arguments.config)?).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Lease(command) => {
            lease::run(&command).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Schedule(arguments) => {
            schedule::run(*arguments).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Docs { check, folder } => {
            docs::write(&folder, check)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[expect(clippy::print_stderr, reason = "a command's complaint goes to standard error")]
fn complain(problem: &anyhow::Error) {
    eprintln!("millrace: {problem:#}");
}
