//! Producing: handed over and forgotten beside a bare threaded producer; awaited beside a future for each record.
//!
//! All sides send the same envelopes with the same headers, acknowledged by all replicas, and end with the last
//! acknowledgement. The topic is read afterwards: each record once, in order per key.

use anyhow::Result;
use millrace_benches::report::{Figure, Goal};

use crate::bench::{Bench, Tracing, ratio};
use crate::job::{Measured, ProducedBy, Work};
use crate::records::{Form, RecordSet, Spread};

const SET: RecordSet =
    RecordSet { count: 500_000, keys: 1000, form: Form::Enveloped, spread: Spread::Even, seed: 3 };
const QUEUE_GOAL: f64 = 0.75;
const AWAITED_GOAL: f64 = 2.0;

pub(crate) async fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let sides =
        [ProducedBy::Queue, ProducedBy::BareThreaded, ProducedBy::Awaited, ProducedBy::BareFutures];
    let samples = bench
        .measure_sides(&sides, async |bench, by| {
            let topic = bench.topic().await;
            let tracing = match by {
                ProducedBy::Queue | ProducedBy::Awaited => Tracing::Sampled,
                ProducedBy::BareThreaded | ProducedBy::BareFutures => Tracing::Off,
            };
            let mut measured = bench.run(&topic, tracing, Work::Produce { set: SET, by }).await?;
            if measured.broken.is_none() {
                measured.broken = bench.arrived(&topic, &SET).await?;
            }
            Ok(measured)
        })
        .await?;
    let [queue, threaded, awaited, futures] = &samples[..] else {
        anyhow::bail!("a side is missing");
    };
    let of = |name: &str, goal, over, under| {
        let goal = Some(Goal::AtLeast(goal));
        ratio(name, goal, (over, Measured::rate), (under, Measured::rate))
    };
    let mut figures = vec![
        of("produce.queue_ratio", QUEUE_GOAL, queue, threaded),
        of("produce.awaited_ratio", AWAITED_GOAL, awaited, futures),
    ];
    let names = ["queue", "bare_threaded", "awaited", "bare_futures"];
    figures.extend(
        samples.iter().zip(names).flat_map(|(side, name)| side.figures(&format!("produce.{name}"))),
    );
    Ok(figures)
}
