//! `audit-topic`: stores what every service recorded.
//!
//! A batch is one statement. One record that can't be stored fails the batch; the runtime then hands the records
//! over one by one, so the good ones are stored and the bad one becomes a dead letter. Nothing is dropped here:
//! the trail is complete or it is nothing.

use millrace_common::envelope::Envelope;
use millrace_common::messaging::{Batch, Handler, HandlerError, Outcomes};
use millrace_common::outbox::StoreError;
use millrace_contracts::codes;
use millrace_contracts::events::AuditEvent;
use sqlx::PgPool;

use crate::app;
use crate::metrics::Metrics;
use crate::wire;

/// Stores audit records.
pub(crate) struct AuditRecords {
    pool: PgPool,
    metrics: Metrics,
}

impl AuditRecords {
    pub(crate) fn new(pool: PgPool, metrics: Metrics) -> Self {
        Self { pool, metrics }
    }
}

impl Handler for AuditRecords {
    type Message = Envelope<AuditEvent>;

    async fn handle(&self, batch: Batch<Self::Message>) -> Outcomes {
        self.store(&batch).await.into()
    }
}

impl AuditRecords {
    async fn store(&self, batch: &Batch<Envelope<AuditEvent>>) -> Result<(), HandlerError> {
        let records = batch.deliveries.iter().map(|delivery| wire::record_of(&delivery.message));
        let records: Vec<_> = records.collect::<Result<_, _>>().map_err(|malformed| {
            HandlerError::permanent(&codes::EVENT_NOT_APPLICABLE, malformed)
        })?;
        let appended = app::append_records(&self.pool, &records).await.map_err(store_failed)?;
        self.metrics.appended(appended);
        Ok(())
    }
}

fn store_failed(cause: StoreError) -> HandlerError {
    if cause.is_unavailable() {
        HandlerError::transient(&codes::STORE_UNAVAILABLE, cause)
    } else {
        HandlerError::permanent(&codes::STORE_FAILED, cause)
    }
}
