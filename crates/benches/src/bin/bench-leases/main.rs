//! Leases beside bare Redis scripts and a polling lock, scheduled tasks beside bare statements, with every promise
//! checked meanwhile.

mod acquire_release;
mod bare_dispatch;
mod bare_lease;
mod bench;
mod contenders;
mod dispatch;
mod fire_delay;
mod jobs;
#[cfg(test)]
mod promise_tests;
mod settings;
mod turns;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use millrace_benches::report::Figure;
use millrace_benches::suite::{self, RunOptions, Suite};

use crate::bench::Bench;

/// As the services do; the bare sides have it too.
#[global_allocator]
static ALLOCATOR: millrace_common::Allocator = millrace_common::Allocator;

/// Measures leases and scheduled tasks on servers of their own, as ratios inside one run.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    options: RunOptions,
    /// Measures these alone.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Section>,
}

/// What can be measured, in the order in which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// One client takes a lease and gives it back, beside two bare scripts.
    AcquireRelease,
    /// Thirty-two contenders for one lease, beside a lock that is polled for.
    Contenders,
    /// From the instant of a task to its worker: 1,000 a second for ten seconds.
    FireDelay,
    /// Ten thousand tasks of one instant.
    AtOnce,
    /// One dispatcher and a backlog, beside bare inserts of the same rows.
    Dispatch,
}

impl Suite for Bench {
    type Section = Section;

    const NAME: &'static str = "bench-leases";
    const LIMIT: Duration = Duration::from_secs(30 * 60);
    const STOPS_AT_TROUBLE: bool = false;

    async fn measure(&mut self, section: &Section) -> Result<Vec<Figure>> {
        match section {
            Section::AcquireRelease => acquire_release::measure(self).await,
            Section::Contenders => contenders::measure(self).await,
            Section::FireDelay => fire_delay::spread(self).await,
            Section::AtOnce => fire_delay::at_once(self).await,
            Section::Dispatch => dispatch::measure(self).await,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    suite::run(&arguments.options, &arguments.only, Bench::start).await
}
