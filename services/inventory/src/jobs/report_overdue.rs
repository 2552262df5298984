//! Looks for holds that are older than they should be.
//!
//! Every instance looks: the row's mark decides who tells, so an occurrence needs no lease.

use std::time::Duration;

use millrace_common::telemetry::error_chain;
use tracing::Instrument as _;

use crate::app::App;
use crate::app::report_overdue::report_overdue;

/// Holds told in one transaction; a long backlog is told in several.
const ROWS_MAX: u32 = 200;

/// One run: tells all that are overdue now.
pub(crate) async fn run(app: App, overdue_after: Duration) {
    let span = tracing::info_span!("report-overdue", otel.kind = "internal");
    tell_all(&app, overdue_after).instrument(span).await;
}

async fn tell_all(app: &App, overdue_after: Duration) {
    loop {
        match report_overdue(app, overdue_after, ROWS_MAX).await {
            Ok(0) => return,
            Ok(told) => {
                tracing::warn!(
                    reservations = told,
                    "{told} reservation(s) are held longer than {overdue_after:?}"
                );
                if told < ROWS_MAX as usize {
                    return;
                }
            }
            // The next run tries again.
            Err(failure) => {
                tracing::warn!(
                    error = error_chain(&failure),
                    "overdue reservations were not looked for"
                );
                return;
            }
        }
    }
}
