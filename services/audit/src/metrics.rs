//! Every metric of this service.

use millrace_common::telemetry::metrics::{IntCounter, counter};

use crate::app::Appended;

/// Counts of records; cloning shares them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    stored: IntCounter,
    repeated: IntCounter,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            stored: counter("audit_records_stored_total", "Audit records added to the trail."),
            repeated: counter(
                "audit_records_repeated_total",
                "Audit records that came again and were in the trail already.",
            ),
        }
    }

    pub(crate) fn appended(&self, appended: Appended) {
        self.stored.inc_by(appended.stored);
        self.repeated.inc_by(appended.repeated);
    }
}
