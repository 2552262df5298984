//! Speed as ratios, with the promises checked in the same run; README.md says how to read the figures.

mod bare_kafka;
mod bench;
mod buyer;
mod footprint;
mod hot_sku;
mod intake;
mod latency;
mod machine;
mod pgbench;
mod report;
mod statistics;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};

use crate::bench::Bench;
use crate::machine::{Quiet, Watch};
use crate::report::{Figure, Report};

/// The whole run, start and end included, takes at most so long.
const RUN_LIMIT: Duration = Duration::from_secs(8 * 60);

/// Measures the product on a stack of its own, as ratios inside one run.
#[derive(Debug, Parser)]
struct Arguments {
    /// Prints one JSON document instead of the table.
    #[arg(long)]
    json: bool,
    /// Decides the order of the measurements; printed, so that a run can be repeated.
    #[arg(long)]
    seed: Option<u64>,
    /// Rounds of each measurement.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=20))]
    rounds: u16,
    /// Measures these alone.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Section>,
}

/// What can be measured, in the order in which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Memory when idle, and time from start to ready.
    Footprint,
    /// Placed to reserved, beside the bare path through Kafka.
    Latency,
    /// One hot SKU beside 1,000 SKUs.
    HotSku,
    /// Placing orders over HTTP beside pgbench writing the same rows. Last, because it leaves the most rows.
    Intake,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let run = tokio::time::timeout(RUN_LIMIT, measure(&arguments));
    match run.await.context("the run took longer than eight minutes").flatten() {
        Ok(report) => {
            print(&if arguments.json { report.json() } else { report.table() });
            ExitCode::from(u8::from(report.broken()))
        }
        Err(problem) => {
            progress(&format!("bench-smoke: {problem:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<Report> {
    if cfg!(debug_assertions) {
        bail!("these are debug binaries; figures are taken from release ones: make bench-smoke");
    }
    let seed = arguments.seed.unwrap_or_else(rand::random);
    progress(&format!("seed {seed}"));
    let before = Quiet::wait().await?;
    let mut bench = Bench::start(seed, usize::from(arguments.rounds)).await?;
    let mut figures = Vec::new();
    for section in Section::value_variants() {
        if arguments.only.is_empty() || arguments.only.contains(section) {
            progress(&format!("{section:?}"));
            match measure_section(*section, &mut bench).await {
                Ok(measured) => figures.extend(measured),
                // What comes after would stand on what has broken; what was measured before still counts.
                Err(problem) => {
                    figures.push(Figure::broken(format!("{section:?}"), format!("{problem:#}")));
                    break;
                }
            }
        }
    }
    Ok(Report { seed, rounds: arguments.rounds, quiet: before, figures })
}

/// One section; what others took of the machine meanwhile is told with each of its figures.
async fn measure_section(section: Section, bench: &mut Bench) -> Result<Vec<Figure>> {
    let watch = Watch::start()?;
    let mut figures = match section {
        Section::Footprint => footprint::measure(bench).await?,
        Section::Latency => latency::measure(bench).await?,
        Section::HotSku => hot_sku::measure(bench).await?,
        Section::Intake => intake::measure(bench).await?,
    };
    let foreign = watch.foreign_share()?;
    for figure in &mut figures {
        figure.foreign_share = foreign;
    }
    Ok(figures)
}

#[expect(clippy::print_stdout, reason = "the report is what this program is for")]
fn print(text: &str) {
    println!("{text}");
}

/// Says what happens while nothing is printed; apart from the report, which may be read by a machine.
#[expect(clippy::print_stderr, reason = "a run takes minutes, and somebody waits")]
fn progress(text: &str) {
    eprintln!("{text}");
}
