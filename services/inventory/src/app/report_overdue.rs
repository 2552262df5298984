//! Holds that are older than they should be are told once each, and never let go of here: only the order service
//! decides what becomes of an order.

use std::time::Duration;

use millrace_common::envelope::MessageContext;
use millrace_common::outbox::{StoreError, append};
use millrace_common::scheduler::{TaskError, TaskRun};
use millrace_common::telemetry::current_trace;

use super::App;
use super::journal::Journal;
use crate::store::reservations::reservations_report_overdue;
use crate::wire;

/// Holds told in one transaction; a long backlog is told in several.
const ROWS_MAX: u32 = 200;

/// Tells all that are overdue now, and ends the occurrence with the last of them; returns how many.
pub(crate) async fn report_overdue(
    app: &App,
    overdue_after: Duration,
    run: &TaskRun,
) -> Result<usize, TaskError> {
    let context = MessageContext::of_own_work(current_trace());
    let mut told = 0;
    loop {
        let now = app.clock.now();
        let held_before = now - overdue_after;
        let mut transaction = run.begin().await?;
        let overdue =
            reservations_report_overdue(&mut transaction, held_before, now, ROWS_MAX).await?;
        let mut journal = Journal::new(&app.clock);
        for row in &overdue {
            journal.event(&wire::overdue_of(row.order_id, row.held_at), &context)?;
        }
        append(&mut transaction, journal.records()).await.map_err(StoreError)?;
        let full = overdue.len() == ROWS_MAX as usize;
        if full {
            transaction.commit().await?;
        } else {
            run.finish(transaction).await?;
        }
        if !overdue.is_empty() {
            app.relay.wake();
            app.metrics.overdue(overdue.len());
        }
        told += overdue.len();
        if !full {
            return Ok(told);
        }
    }
}
