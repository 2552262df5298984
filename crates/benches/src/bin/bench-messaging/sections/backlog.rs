//! A long backlog, worked off in bounded memory.
//!
//! Measured once, not in rounds: it is the peak that counts, and a longer run only has more chances to reach it.

use anyhow::Result;
use millrace_benches::report::{Figure, Goal};

use crate::bench::{Bench, Tracing, measured_once};
use crate::job::{HandlerKind, Measured, Work, count};
use crate::records::{Form, RecordSet, Spread};
use crate::sections::no_op::IN_FLIGHT;

const MEMORY_GOAL_MB: f64 = 256.0;
const KEYS: u32 = 100_000;

pub(crate) async fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let form = Form::Enveloped;
    let set = RecordSet { count: bench.backlog, keys: KEYS, form, spread: Spread::Even, seed: 5 };
    let topic = bench.topic_with(&set).await?;
    let work = Work::Consume { set, handler: HandlerKind::NoOp(form), in_flight: IN_FLIGHT };
    let samples = measured_once(bench.run(&topic, Tracing::Sampled, work).await?);
    let peak = |measured: &Measured| count(measured.resident_bytes[3]) / 1e6;
    let mut figures = vec![
        samples.figure("backlog.memory_peak", "MB", peak).goal(Goal::AtMost(MEMORY_GOAL_MB)),
        samples.figure("backlog.records", "millions", |_| f64::from(set.count) / 1e6),
    ];
    figures.extend(samples.figures("backlog.product"));
    Ok(figures)
}
