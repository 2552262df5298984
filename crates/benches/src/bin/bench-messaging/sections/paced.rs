//! How much of the arithmetic limit a handler that takes time gets.
//!
//! With so many in flight and a handler that takes so long, nobody can do more than the quotient of the two a second;
//! nor more than a bare loop reads; nor, with an unevenly spread key, more than that key's records one after the
//! other. What the handler takes is measured in the same round by as many tasks that sleep on the same runtime and do
//! nothing else: tokio's sleep of 1 ms takes about 2 ms. `occupied` is the share of the slots that were in use, by the handler
//! times measured inside the consumer; it leaves out what the machine's processors can't do.

use std::time::Duration;

use anyhow::Result;
use millrace_benches::report::{Figure, Goal};

use crate::bench::{Bench, Tracing, combined};
use crate::job::{Fetch, HandlerKind, Measured, Work, count};
use crate::records::{Form, RecordSet, Spread};

const GOAL: f64 = 0.85;
const SLEEPING: Duration = Duration::from_secs(3);

/// One kind of load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) sleep: Duration,
    pub(crate) in_flight: u32,
    pub(crate) keys: u32,
    pub(crate) spread: Spread,
    pub(crate) records: u32,
    pub(crate) has_goal: bool,
}

/// 1 ms, 1,000 keys, 256 in flight.
pub(crate) const SHORT: Load = Load {
    name: "paced_1ms",
    sleep: Duration::from_millis(1),
    in_flight: 256,
    keys: 1000,
    spread: Spread::Even,
    records: 400_000,
    has_goal: true,
};
/// 10 ms, 1,000 in flight; with only as many keys as slots an even spread leaves a third of the slots idle.
pub(crate) const LONG: Load = Load {
    name: "paced_10ms",
    sleep: Duration::from_millis(10),
    in_flight: 1000,
    keys: 10_000,
    spread: Spread::Even,
    records: 400_000,
    has_goal: true,
};
/// As the first, with keys as busy accounts have them.
pub(crate) const ZIPF: Load =
    Load { name: "paced_zipf", spread: Spread::Zipf, records: 30_000, has_goal: false, ..SHORT };

#[derive(Debug, Clone, Copy)]
enum Side {
    Product,
    Bare,
    Sleepers,
}

pub(crate) async fn measure(bench: &mut Bench, load: Load) -> Result<Vec<Figure>> {
    let Load { name, sleep, in_flight, keys, spread, records, has_goal } = load;
    let set = RecordSet { count: records, keys, form: Form::Enveloped, spread, seed: 2 };
    let topic = bench.topic_with(&set).await?;
    let samples = bench
        .measure_sides(&[Side::Product, Side::Bare, Side::Sleepers], async |bench, side| {
            let (tracing, work) = match side {
                Side::Product => {
                    let (handler, in_flight) = (HandlerKind::Sleep(sleep), in_flight as usize);
                    (Tracing::Sampled, Work::Consume { set, handler, in_flight })
                }
                Side::Bare => (Tracing::Off, Work::ConsumeBare { set, fetch: Fetch::AsProduct }),
                Side::Sleepers => (Tracing::Off, Work::Sleep { in_flight, sleep, span: SLEEPING }),
            };
            bench.run(&topic, tracing, work).await
        })
        .await?;
    let [product, bare, sleepers] = &samples[..] else { anyhow::bail!("a side is missing") };
    let parallel = parallel_max(&set, in_flight);
    let rounds = product.rounds.iter().zip(&bare.rounds).zip(&sleepers.rounds);
    let shares = rounds.map(|((product, bare), sleepers)| {
        product.rate() / limit(parallel, sleepers.handler_seconds, bare.rate())
    });
    let goal = has_goal.then_some(Goal::AtLeast(GOAL));
    let sides = [product, bare, sleepers];
    let mut figures = vec![
        combined(format!("{name}.share_of_limit"), "ratio", goal, &sides, shares.collect()),
        product.figure(format!("{name}.occupied"), "ratio", |product| {
            product.rate() * product.handler_seconds / parallel
        }),
    ];
    let named = [(product, "product"), (bare, "bare")];
    figures.extend(
        named.iter().flat_map(|(side, side_name)| side.figures(&format!("{name}.{side_name}"))),
    );
    let milliseconds = |measured: &Measured| measured.handler_seconds * 1000.0;
    figures.push(sleepers.figure(format!("{name}.sleep_alone"), "ms", milliseconds));
    figures.push(product.figure(format!("{name}.handler"), "ms", milliseconds));
    Ok(figures)
}

/// How many handlers can be at work at the mean: all slots, or as many as the busiest key's share allows.
fn parallel_max(set: &RecordSet, in_flight: u32) -> f64 {
    let busiest = set.totals().into_iter().max().unwrap_or(1);
    f64::from(in_flight).min(count(u64::from(set.count)) / f64::from(busiest))
}

/// Records a second that nobody can surpass.
fn limit(parallel: f64, handler_seconds: f64, bare_rate: f64) -> f64 {
    (parallel / handler_seconds).min(bare_rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_lowest_of_slots_busiest_key_and_bare_loop() {
        let set =
            |spread| RecordSet { count: 30_000, keys: 1000, form: Form::Raw, spread, seed: 2 };
        assert!((parallel_max(&set(Spread::Even), 256) - 256.0).abs() < 1e-9);
        // The busiest of a thousand Zipf keys has about a seventh and a half of all records.
        let parallel = parallel_max(&set(Spread::Zipf), 256);
        assert!((6.5..8.5).contains(&parallel), "{parallel}");
        assert!((limit(256.0, 0.002, 1e6) - 128_000.0).abs() < 1e-6);
        assert!((limit(256.0, 0.002, 90_000.0) - 90_000.0).abs() < 1e-6);
    }
}
