//! Latency of the way through outbox and broker, beside the bare way through the same servers.

use std::time::Duration;

use anyhow::Result;
use millrace_benches::report::{Figure, Goal};
use millrace_benches::statistics::percentile;
use millrace_common::outbox;

use crate::bench::{Bench, Samples, Tracing, combined, ratio};
use crate::job::{Measured, Side, Work};

const SPAN: Duration = Duration::from_secs(10);
const COMMIT_RATE: u32 = 2000;
const P50_OVER_BARE_MS: f64 = 1.0;
const P99_RATIO: f64 = 1.5;

/// Rows committed at 2,000 a second until they are consumed.
pub(crate) async fn commit_to_consumer(bench: &mut Bench) -> Result<Vec<Figure>> {
    let work = |by, database_url| Work::CommitToConsumer {
        rate: COMMIT_RATE,
        span: SPAN,
        by,
        database_url,
    };
    let [product, bare] = both(bench, work).await?;
    let name = format!("commit_to_consumer_{COMMIT_RATE}");
    let mut figures = vec![p99_ratio(&name, None, &product, &bare)];
    figures.extend(latencies(&name, &product, &bare));
    Ok(figures)
}

/// Requests at `rate` until a handler has their records.
pub(crate) async fn http_to_handler(bench: &mut Bench, rate: u32) -> Result<Vec<Figure>> {
    let work = |by, database_url| Work::HttpToHandler { rate, span: SPAN, by, database_url };
    let [product, bare] = both(bench, work).await?;
    let name = format!("http_to_handler_{rate}");
    let pairs = product.each(p50).into_iter().zip(bare.each(p50));
    let over = pairs.map(|(product, bare)| product - bare).collect();
    let goal = Some(Goal::AtMost(P50_OVER_BARE_MS));
    let mut figures = vec![
        combined(format!("{name}.p50_over_bare"), "ms", goal, &[&product, &bare], over),
        p99_ratio(&name, Some(Goal::AtMost(P99_RATIO)), &product, &bare),
    ];
    figures.extend(latencies(&name, &product, &bare));
    Ok(figures)
}

/// Each measurement has a database and a topic of its own: nobody meets another's dead rows.
async fn both(bench: &mut Bench, work: impl Fn(Side, String) -> Work) -> Result<[Samples; 2]> {
    let samples = bench
        .measure_sides(&[Side::Product, Side::Bare], async |bench, by| {
            let database = bench.stack.database("bench", &[&outbox::MIGRATIONS]).await;
            let topic = bench.topic().await;
            let tracing = match by {
                Side::Product => Tracing::Sampled,
                Side::Bare => Tracing::Off,
            };
            bench.run(&topic, tracing, work(by, database.app_url())).await
        })
        .await?;
    samples.try_into().map_err(|_| anyhow::anyhow!("a side is missing"))
}

fn p50(measured: &Measured) -> f64 {
    percentile(&measured.latencies_ms, 0.5)
}

fn p99(measured: &Measured) -> f64 {
    percentile(&measured.latencies_ms, 0.99)
}

fn p99_ratio(name: &str, goal: Option<Goal>, product: &Samples, bare: &Samples) -> Figure {
    ratio(format!("{name}.p99_ratio"), goal, (product, p99), (bare, p99))
}

fn latencies(name: &str, product: &Samples, bare: &Samples) -> Vec<Figure> {
    let sides = [("product", product), ("bare", bare)];
    let figures = sides.iter().flat_map(|(side, samples)| {
        [
            samples.figure(format!("{name}.{side}_p50"), "ms", p50),
            samples.figure(format!("{name}.{side}_p99"), "ms", p99),
            samples.figure(
                format!("{name}.{side}.cpu"),
                "us/record",
                Measured::processor_micros_per_message,
            ),
        ]
    });
    figures.collect()
}
