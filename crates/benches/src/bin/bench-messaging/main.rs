//! The messaging crates' speed beside the bare client and the arithmetic limit, with every promise checked meanwhile.

mod bare;
mod bench;
mod http_path;
mod job;
mod ledger;
mod path;
mod poller;
mod produce;
mod product_consumer;
mod records;
mod relay_backlog;
mod sections;
mod settings;
mod target;
#[cfg(test)]
mod target_tests;
mod traffic;
mod usage;
mod write;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use millrace_benches::report::Figure;
use millrace_benches::suite::{self, RunOptions, Suite, progress};

use crate::bench::Bench;
use crate::sections::{backlog, brokers, no_op, paced, paths, produced, relayed, telemetry_tax};

/// As the services do; the bare client's side has it too.
#[global_allocator]
static ALLOCATOR: millrace_common::Allocator = millrace_common::Allocator;

/// Measures the messaging crates on servers of their own, as ratios inside one run.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: RunOptions,
    /// Measures these alone.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Section>,
    /// Records of the long backlog.
    #[arg(long, default_value_t = 5_000_000, value_parser = clap::value_parser!(u32).range(100_000..=50_000_000))]
    backlog: u32,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One measurement of one side; the program starts itself so.
    #[command(name = job::TARGET_COMMAND, hide = true)]
    Target { job: PathBuf, answer: PathBuf, ready: PathBuf },
}

/// What can be measured, in the order in which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// A handler that does nothing.
    NoOp,
    /// A handler of 1 ms, 256 in flight.
    #[value(name = "paced-1ms")]
    Paced1Ms,
    /// A handler of 10 ms, 1,000 in flight.
    #[value(name = "paced-10ms")]
    Paced10Ms,
    /// A handler of 1 ms and keys of very different weight.
    PacedZipf,
    /// Producing, forgotten and awaited.
    Produce,
    /// A backlog in the outbox.
    Relay,
    /// From the commit of a row to its consumer.
    CommitToConsumer,
    /// From an HTTP request to the handler, 1,000 a second.
    #[value(name = "http-1000")]
    Http1000,
    /// From an HTTP request to the handler, 5,000 a second.
    #[value(name = "http-5000")]
    Http5000,
    /// What tracing costs.
    Telemetry,
    /// Millions of records in bounded memory.
    Backlog,
    /// A leader of three brokers is killed, or stopped.
    LeaderLost,
    /// A second member joins a group.
    SecondMember,
}

impl Suite for Bench {
    type Section = Section;

    const NAME: &'static str = "bench-messaging";
    const LIMIT: Duration = Duration::from_secs(90 * 60);
    const STOPS_AT_TROUBLE: bool = false;

    async fn measure(&mut self, section: &Section) -> Result<Vec<Figure>> {
        match section {
            Section::NoOp => no_op::measure(self).await,
            Section::Paced1Ms => paced::measure(self, paced::SHORT).await,
            Section::Paced10Ms => paced::measure(self, paced::LONG).await,
            Section::PacedZipf => paced::measure(self, paced::ZIPF).await,
            Section::Produce => produced::measure(self).await,
            Section::Relay => relayed::measure(self).await,
            Section::CommitToConsumer => paths::commit_to_consumer(self).await,
            Section::Http1000 => paths::http_to_handler(self, 1000).await,
            Section::Http5000 => paths::http_to_handler(self, 5000).await,
            Section::Telemetry => telemetry_tax::measure(self).await,
            Section::Backlog => backlog::measure(self).await,
            Section::LeaderLost => brokers::leader_lost(self).await,
            Section::SecondMember => brokers::second_member(self).await,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { options, only, backlog, command } = Arguments::parse();
    match command {
        Some(Command::Target { job, answer, ready }) => match target::run(job, answer, ready).await
        {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                progress(&format!("{problem:#}"));
                ExitCode::FAILURE
            }
        },
        None => {
            let start = |seed, rounds| Bench::start(seed, rounds, backlog);
            suite::run(&options, &only, start).await
        }
    }
}
