//! What every benchmark program does around its measurements.
//!
//! It refuses debug binaries, waits for a quiet machine, measures section by section while it watches what others
//! take of the machine, and prints the report. It exits with 1 when a promise was broken; a missed goal is told
//! and is no failure.

use std::fmt::Debug;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use crate::machine::{Quiet, Watch};
use crate::report::{Figure, Report};

/// What can be said on the command line of every benchmark.
#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// Prints one JSON document instead of the table.
    #[arg(long)]
    pub json: bool,
    /// Decides the order of the measurements; printed, so that a run can be repeated.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Rounds of each measurement.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=20))]
    pub rounds: u16,
}

/// A benchmark: sections that are measured one after the other on one set of servers.
pub trait Suite: Sized {
    /// What can be measured, in the order in which it is.
    type Section: ValueEnum + PartialEq + Debug;

    /// The program's name.
    const NAME: &'static str;
    /// The whole run, start and end included, takes at most so long.
    const LIMIT: Duration;
    /// Whether a section that came to no end leaves nothing for the others to stand on.
    const STOPS_AT_TROUBLE: bool;

    /// Measures one section.
    fn measure(&mut self, section: &Self::Section) -> impl Future<Output = Result<Vec<Figure>>>;
}

/// The whole program: `start` gets the seed and the number of rounds; `only` are the sections to measure, all when empty.
pub async fn run<S, F>(
    options: &RunOptions,
    only: &[S::Section],
    start: impl FnOnce(u64, usize) -> F,
) -> ExitCode
where
    S: Suite,
    F: Future<Output = Result<S>>,
{
    let run = tokio::time::timeout(S::LIMIT, Box::pin(measure(options, only, start)));
    let minutes = S::LIMIT.as_secs() / 60;
    match run.await.with_context(|| format!("the run took longer than {minutes} minutes")).flatten()
    {
        Ok(report) => {
            print(&if options.json { report.json() } else { report.table() });
            ExitCode::from(u8::from(report.broken()))
        }
        Err(problem) => {
            progress(&format!("{}: {problem:#}", S::NAME));
            ExitCode::FAILURE
        }
    }
}

async fn measure<S, F>(
    options: &RunOptions,
    only: &[S::Section],
    start: impl FnOnce(u64, usize) -> F,
) -> Result<Report>
where
    S: Suite,
    F: Future<Output = Result<S>>,
{
    if cfg!(debug_assertions) {
        bail!("these are debug binaries; figures are taken from release ones: make {}", S::NAME);
    }
    let seed = options.seed.unwrap_or_else(rand::random);
    progress(&format!("seed {seed}"));
    let quiet = Quiet::wait().await?;
    let mut suite = start(seed, usize::from(options.rounds)).await?;
    let mut figures = Vec::new();
    for section in S::Section::value_variants() {
        if !only.is_empty() && !only.contains(section) {
            continue;
        }
        progress(&format!("{section:?}"));
        match measure_section(&mut suite, section).await {
            Ok(measured) => figures.extend(measured),
            // What was measured before still counts.
            Err(problem) => {
                figures.push(Figure::broken(format!("{section:?}"), format!("{problem:#}")));
                if S::STOPS_AT_TROUBLE {
                    break;
                }
            }
        }
    }
    Ok(Report { seed, rounds: options.rounds, quiet, figures })
}

/// One section; what others took of the machine meanwhile is told with each of its figures.
async fn measure_section<S: Suite>(suite: &mut S, section: &S::Section) -> Result<Vec<Figure>> {
    let watch = Watch::start()?;
    let mut figures = suite.measure(section).await?;
    let foreign = watch.foreign_share()?;
    for figure in &mut figures {
        figure.foreign_share = foreign;
    }
    Ok(figures)
}

#[expect(clippy::print_stdout, reason = "the report is what these programs are for")]
fn print(text: &str) {
    println!("{text}");
}

/// Says what happens while nothing is printed; apart from the report, which may be read by a machine.
#[expect(clippy::print_stderr, reason = "a run takes minutes, and somebody waits")]
pub fn progress(text: &str) {
    eprintln!("{text}");
}
