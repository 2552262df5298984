//! Keeps the partitions: today's and the days ahead are made before their first line comes, days past the
//! retention are dropped.
//!
//! Every instance runs it; the functions in the database take a lock, and doing it twice changes nothing. A drop
//! that doesn't get its lock in time is left to the next run.

use chrono::{Days, NaiveDate};
use millrace_common::outbox::StoreError;
use millrace_common::runtime::Clock;
use millrace_common::telemetry::error_chain;
use sqlx::PgPool;

use crate::config::IngestSettings;
use crate::metrics::Metrics;
use crate::pipeline::partitions;

/// What one run needs.
#[derive(Debug, Clone)]
pub(crate) struct PartitionUpkeep {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) settings: IngestSettings,
    pub(crate) metrics: Metrics,
}

impl PartitionUpkeep {
    /// One run; a failure is counted and logged, and the next run starts over.
    pub(crate) async fn run(self) {
        let now = self.clock.now();
        match self.keep(now.date_naive()).await {
            Ok(dropped) => self.metrics.upkeep_succeeded(dropped, now.timestamp_millis()),
            Err(cause) => {
                self.metrics.upkeep_failed();
                tracing::warn!(
                    error = error_chain(&cause),
                    "partition upkeep failed; the next run repeats it"
                );
            }
        }
    }

    async fn keep(&self, today: NaiveDate) -> Result<i32, StoreError> {
        let ahead = u64::from(self.settings.days_ahead.max(1));
        let days = (0..=ahead).filter_map(|days| today.checked_add_days(Days::new(days)));
        let made = partitions::partitions_ensure(&self.pool, days).await?;
        self.metrics.partitions_made(made);
        let retention = Days::new(u64::from(self.settings.retention_days));
        let Some(oldest) = today.checked_sub_days(retention) else {
            return Ok(0);
        };
        let dropped = partitions::partitions_drop_before(&self.pool, oldest).await?;
        if made + dropped > 0 {
            tracing::info!(made, dropped, %oldest, "partitions made ahead and dropped after retention");
        }
        Ok(dropped)
    }
}
