//! `devstack trace`: one order's (or one trace's) spans as a tree.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use millrace_testkit::otlp::{SpanRecord, SpanTree, journal};
use millrace_testkit::try_wait_until;

use crate::containers::{self, Mode};
use crate::layout;

/// Exporters send each second; somebody who asks right after the order should not be told "nothing".
const LATE_SPANS: Duration = Duration::from_secs(4);

pub(crate) async fn run(id: &str) -> Result<ExitCode> {
    anyhow::ensure!(
        containers::mode().await == Mode::Native || layout::traces().exists(),
        "this stack runs in containers: look the trace up in Jaeger"
    );
    let found = try_wait_until(LATE_SPANS, || async {
        match spans_of(id) {
            Ok(spans) if spans.is_empty() => Err("none yet".to_owned()),
            Ok(spans) => Ok(spans),
            Err(error) => Err(format!("{error:#}")),
        }
    })
    .await;
    let mut spans = match found {
        Ok(spans) => spans,
        Err(seen) => anyhow::bail!("no spans of {id} in {}: {seen}", layout::traces().display()),
    };
    let traces: BTreeSet<String> = spans.iter().map(|span| span.trace_id.clone()).collect();
    for trace in traces {
        let (mine, rest): (Vec<SpanRecord>, Vec<SpanRecord>) =
            spans.into_iter().partition(|span| span.trace_id == trace);
        spans = rest;
        println!("{}", SpanTree::of(mine));
    }
    Ok(ExitCode::SUCCESS)
}

/// A trace id stands for itself; an order has several traces (placed, paid, cancelled are requests of their own).
fn spans_of(id: &str) -> Result<Vec<SpanRecord>> {
    let id = id.to_lowercase();
    let trace = journal::read(&layout::traces(), |span| span.trace_id == id)?;
    if trace.is_empty() { journal::of_order(&layout::traces(), &id) } else { Ok(trace) }
}
