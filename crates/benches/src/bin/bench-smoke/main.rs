//! The whole product's speed as ratios, with the promises checked in the same run.

mod bare_kafka;
mod bench;
mod buyer;
mod footprint;
mod hot_sku;
mod intake;
mod latency;
mod pgbench;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use millrace_benches::report::Figure;
use millrace_benches::suite::{self, RunOptions, Suite};

use crate::bench::Bench;

/// Measures the product on a stack of its own, as ratios inside one run.
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
    /// Memory when idle, and time from start to ready.
    Footprint,
    /// Placed to reserved, beside the bare path through Kafka.
    Latency,
    /// One hot SKU beside 1,000 SKUs.
    HotSku,
    /// Placing orders over HTTP beside pgbench writing the same rows. Last, because it leaves the most rows.
    Intake,
}

impl Suite for Bench {
    type Section = Section;

    const NAME: &'static str = "bench-smoke";
    const LIMIT: Duration = Duration::from_secs(8 * 60);
    const STOPS_AT_TROUBLE: bool = true;

    async fn measure(&mut self, section: &Section) -> Result<Vec<Figure>> {
        match section {
            Section::Footprint => footprint::measure(self).await,
            Section::Latency => latency::measure(self).await,
            Section::HotSku => hot_sku::measure(self).await,
            Section::Intake => intake::measure(self).await,
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    suite::run(&arguments.options, &arguments.only, Bench::start).await
}
