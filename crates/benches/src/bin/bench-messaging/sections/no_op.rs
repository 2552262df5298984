//! How fast records reach a handler that does nothing, beside a bare loop over the same topic.
//!
//! The bare side is a stream consumer that looks at each record's bytes. The raw path hands over bytes untouched; the
//! full path decodes envelopes, traces one record of a hundred and counts. Told beside: what batches save the handler,
//! and how fast the bare loop is with the client library's own fetch settings, which keep more in memory.

use anyhow::Result;
use millrace_benches::report::{Figure, Goal};

use crate::bench::{Bench, Tracing, ratio};
use crate::job::{Fetch, HandlerKind, Measured, Work};
use crate::records::{Form, RecordSet, Spread};

pub(crate) const RECORDS: u32 = 1_000_000;
pub(crate) const KEYS: u32 = 1000;
/// Handler calls at once; a no-op handler never has as many.
pub(crate) const IN_FLIGHT: usize = 256;
const RAW_GOAL: f64 = 0.60;
const FULL_GOAL: f64 = 0.35;

#[derive(Debug, Clone, Copy)]
enum Side {
    Bare(Form, Fetch),
    Product(HandlerKind),
}

pub(crate) async fn measure(bench: &mut Bench) -> Result<Vec<Figure>> {
    let set = |form| RecordSet { count: RECORDS, keys: KEYS, form, spread: Spread::Even, seed: 1 };
    let raw_topic = bench.topic_with(&set(Form::Raw)).await?;
    let full_topic = bench.topic_with(&set(Form::Enveloped)).await?;
    let sides = [
        Side::Bare(Form::Raw, Fetch::AsProduct),
        Side::Bare(Form::Enveloped, Fetch::AsProduct),
        Side::Product(HandlerKind::NoOp(Form::Raw)),
        Side::Product(HandlerKind::NoOp(Form::Enveloped)),
        Side::Product(HandlerKind::NoOpBatch(Form::Raw)),
        Side::Product(HandlerKind::NoOpBatch(Form::Enveloped)),
        Side::Bare(Form::Raw, Fetch::AsLibrary),
        Side::Bare(Form::Enveloped, Fetch::AsLibrary),
    ];
    let samples = bench
        .measure_sides(&sides, async |bench, side| {
            let (form, work) = match side {
                Side::Bare(form, fetch) => (form, Work::ConsumeBare { set: set(form), fetch }),
                Side::Product(handler) => {
                    let form = handler.form();
                    (form, Work::Consume { set: set(form), handler, in_flight: IN_FLIGHT })
                }
            };
            match form {
                Form::Raw => bench.run(&raw_topic, Tracing::Off, work).await,
                Form::Enveloped => {
                    let tracing = match side {
                        Side::Bare(..) => Tracing::Off,
                        Side::Product(_) => Tracing::Sampled,
                    };
                    bench.run(&full_topic, tracing, work).await
                }
            }
        })
        .await?;
    let [bare_raw, bare_full, raw, full, raw_batch, full_batch, library_raw, library_full] =
        &samples[..]
    else {
        anyhow::bail!("a side is missing");
    };
    let of = |name: &str, goal: Option<f64>, over, under| {
        let goal = goal.map(Goal::AtLeast);
        ratio(format!("no_op.{name}"), goal, (over, Measured::rate), (under, Measured::rate))
    };
    let mut figures = vec![
        of("raw_ratio", Some(RAW_GOAL), raw, bare_raw),
        of("full_ratio", Some(FULL_GOAL), full, bare_full),
        of("raw_batch_ratio", None, raw_batch, bare_raw),
        of("full_batch_ratio", None, full_batch, bare_full),
        of("raw_ratio_library_fetch", None, raw, library_raw),
        of("full_ratio_library_fetch", None, full, library_full),
        of("full_ratio_without_headers", None, full, bare_raw),
    ];
    let names = [
        "bare_raw",
        "bare_full",
        "raw",
        "full",
        "raw_batch",
        "full_batch",
        "library_raw",
        "library_full",
    ];
    figures.extend(
        samples.iter().zip(names).flat_map(|(side, name)| side.figures(&format!("no_op.{name}"))),
    );
    Ok(figures)
}
