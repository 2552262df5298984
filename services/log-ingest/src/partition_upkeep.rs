//! Keeps the partitions: today's and the days ahead are made before their first line comes, days past the
//! retention are dropped.
//!
//! It is the work of a scheduled task; beside that every instance does it once when it starts, so that the first line
//! finds its partition however long nothing was dispatched. The functions in the database take a lock, and doing it
//! twice changes nothing, so no write has to prove whose run it is. A drop that doesn't get its lock in time is left to
//! the next run.

use chrono::{Days, NaiveDate};
use millrace_common::outbox::StoreError;
use millrace_common::runtime::Clock;
use millrace_common::scheduler::{TaskError, TaskHandler, TaskRun};
use millrace_common::telemetry::error_chain;
use sqlx::PgPool;

use crate::config::IngestSettings;
use crate::metrics::Metrics;
use crate::pipeline::partitions;

/// The task's name.
pub(crate) const NAME: &str = "partition-upkeep";

/// What one run needs.
#[derive(Debug, Clone)]
pub(crate) struct PartitionUpkeep {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) settings: IngestSettings,
    pub(crate) metrics: Metrics,
}

impl PartitionUpkeep {
    /// The run at the start; a failure is logged, and the task does it again.
    pub(crate) async fn at_start(self) {
        if let Err(cause) = self.run_once().await {
            tracing::warn!(
                error = error_chain(&cause),
                "partition upkeep failed at the start, the scheduled task repeats it"
            );
        }
    }

    async fn run_once(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        match self.keep(now.date_naive()).await {
            Ok(dropped) => {
                self.metrics.upkeep_succeeded(dropped, now.timestamp_millis());
                Ok(())
            }
            Err(cause) => {
                self.metrics.upkeep_failed();
                Err(cause)
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

impl TaskHandler for PartitionUpkeep {
    async fn run(&self, _run: TaskRun) -> Result<(), TaskError> {
        Ok(self.run_once().await?)
    }
}
