//! What tracing costs: the same no-op run without telemetry, with one trace of a hundred, and with a collector away.

use anyhow::Result;
use millrace_benches::report::{Figure, Goal};

use crate::bench::{Bench, Samples, Tracing, combined};
use crate::job::{HandlerKind, Measured, Work, count};
use crate::records::{Form, RecordSet, Spread};
use crate::sections::no_op::{IN_FLIGHT, KEYS, RECORDS};

const SAMPLED_GOAL: f64 = 0.05;
const AWAY_GOAL: f64 = 0.02;
/// Memory at the last record over memory half-way: what waits for the exporter is bounded long before.
const GROWTH_GOAL_MB: f64 = 2.0;

pub(crate) async fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let form = Form::Enveloped;
    let set = RecordSet { count: RECORDS, keys: KEYS, form, spread: Spread::Even, seed: 6 };
    let topic = bench.topic_with(&set).await?;
    let sides = [Tracing::Off, Tracing::Sampled, Tracing::CollectorAway];
    let samples = bench
        .measure_sides(&sides, async |bench, tracing| {
            let handler = HandlerKind::NoOp(form);
            bench.run(&topic, tracing, Work::Consume { set, handler, in_flight: IN_FLIGHT }).await
        })
        .await?;
    let [off, sampled, away] = &samples[..] else { anyhow::bail!("a side is missing") };
    let mut figures = vec![
        tax("telemetry.tax_sampled", SAMPLED_GOAL, off, sampled),
        tax("telemetry.tax_collector_away", AWAY_GOAL, sampled, away),
        away.figure("telemetry.growth_collector_away", "MB", |measured| {
            let [_, middle, end, _] = measured.resident_bytes;
            (count(end) - count(middle)) / 1e6
        })
        .goal(Goal::AtMost(GROWTH_GOAL_MB)),
    ];
    for (side, name) in [(off, "off"), (sampled, "sampled"), (away, "collector_away")] {
        figures.extend(side.figures(&format!("telemetry.{name}")));
    }
    Ok(figures)
}

/// The share of the rate that is lost.
fn tax(name: &str, goal: f64, without: &Samples, with: &Samples) -> Figure {
    let pairs = without.each(Measured::rate).into_iter().zip(with.each(Measured::rate));
    let shares = pairs.map(|(without, with)| 1.0 - with / without).collect();
    combined(name, "share", Some(Goal::AtMost(goal)), &[without, with], shares)
}
