//! `request-logs`: stores what every service logged of its requests.
//!
//! Log lines may be lost but never hold up others: a line that can't be stored is dropped and counted, it
//! neither fails its batch nor becomes a dead letter. (Bytes that are no envelope do; the runtime sees to that.)

use millrace_common::envelope::Envelope;
use millrace_common::messaging::{Batch, Handler, HandlerError, Outcomes};
use millrace_common::outbox::StoreError;
use millrace_common::request_log::RequestLogEvent;
use millrace_common::runtime::Clock;
use millrace_contracts::codes;
use sqlx::PgPool;

use crate::config::IngestSettings;
use crate::metrics::Metrics;
use crate::pipeline::batch::{self, Sorted, Window};
use crate::pipeline::{partitions, store};

/// Stores request logs.
pub(crate) struct RequestLogs {
    pool: PgPool,
    clock: Clock,
    settings: IngestSettings,
    metrics: Metrics,
}

impl RequestLogs {
    pub(crate) fn new(
        pool: PgPool,
        clock: Clock,
        settings: IngestSettings,
        metrics: Metrics,
    ) -> Self {
        Self { pool, clock, settings, metrics }
    }

    async fn store(&self, sorted: &Sorted) -> Result<u64, sqlx::Error> {
        if sorted.lines.is_empty() {
            return Ok(0);
        }
        // Asked for each batch: one cheap statement, and nothing to remember that could have become wrong.
        let made = partitions::partitions_ensure(&self.pool, sorted.days()).await?;
        self.metrics.partitions_made(made);
        store::lines_store(&self.pool, &sorted.lines).await
    }
}

impl Handler for RequestLogs {
    type Message = Envelope<RequestLogEvent>;

    async fn handle(&self, batch: Batch<Self::Message>) -> Outcomes {
        self.ingest(&batch).await.into()
    }
}

impl RequestLogs {
    async fn ingest(&self, batch: &Batch<Envelope<RequestLogEvent>>) -> Result<(), HandlerError> {
        let today = self.clock.now().date_naive();
        let window = Window::around(today, self.settings.days_back, self.settings.days_ahead);
        let envelopes = batch.deliveries.iter().map(|delivery| &delivery.message);
        let sorted = batch::sort(envelopes, window);
        if let Some(first) = sorted.first_malformed {
            tracing::warn!(
                count = sorted.malformed,
                field = first.field,
                problem = first.problem,
                "log lines dropped: they can't be stored as they are; the first one's field is named"
            );
        }
        let stored = self.store(&sorted).await.map_err(store_failed)?;
        self.metrics.batch_done(batch.deliveries.len(), &sorted, stored);
        Ok(())
    }
}

fn store_failed(cause: sqlx::Error) -> HandlerError {
    let cause = StoreError::from(cause);
    if cause.is_unavailable() {
        HandlerError::transient(&codes::STORE_UNAVAILABLE, cause)
    } else {
        HandlerError::permanent(&codes::STORE_FAILED, cause)
    }
}
