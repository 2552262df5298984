//! Holds that are older than they should be are told once each, and never let go of here: only the order service
//! decides what becomes of an order.

use std::time::Duration;

use millrace_common::envelope::MessageContext;
use millrace_common::outbox::append;
use millrace_common::telemetry::current_trace;

use super::journal::Journal;
use super::{App, Failure};
use crate::store::reservations::reservations_report_overdue;
use crate::wire;

/// Tells at most `rows_max` of them; returns how many. Call it again while it returns `rows_max`.
pub(crate) async fn report_overdue(
    app: &App,
    overdue_after: Duration,
    rows_max: u32,
) -> Result<usize, Failure> {
    let now = app.clock.now();
    let held_before = now - overdue_after;
    let mut transaction = app.pool.begin().await?;
    let overdue = reservations_report_overdue(&mut transaction, held_before, now, rows_max).await?;
    if overdue.is_empty() {
        return Ok(0);
    }
    let trace = current_trace();
    // Nobody asked for it, so there is no actor; the trace is the job's own.
    let context = MessageContext {
        correlation_id: trace.trace_id().map(str::to_owned),
        trace,
        ..MessageContext::default()
    };
    let mut journal = Journal::new(&app.clock);
    for row in &overdue {
        journal.event(&wire::overdue_of(row.order_id, row.held_at), &context)?;
    }
    append(&mut transaction, journal.records()).await?;
    transaction.commit().await?;
    app.relay.wake();
    app.metrics.overdue(overdue.len());
    Ok(overdue.len())
}
