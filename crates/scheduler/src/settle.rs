//! How an attempt ends: one row, one transaction, and a word to the dispatcher.

use std::time::Duration;

use millrace_outbox::StoreError;
use millrace_resilience::Class;
use millrace_telemetry::error_chain;
use sqlx::PgPool;

use crate::dispatch::ScheduleWaker;
use crate::handler::TaskError;
use crate::metrics;
use crate::store::runs::{self, FailedRun, RunKey};
use crate::task::{Retry, RetryForm};
use crate::worker::reason;

/// How a handler left its attempt.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The occurrence's end is committed with its effect.
    Finished,
    /// It returned, and the occurrence is still open.
    Returned,
    /// It failed.
    Failed(TaskError),
    /// It was asked to end and didn't in time.
    Dropped,
    /// The occurrence is no longer this run's.
    Over,
}

/// Writes how attempts end.
#[derive(Debug)]
pub(crate) struct Settler<'a> {
    pub(crate) pool: &'a PgPool,
    pub(crate) waker: &'a ScheduleWaker,
}

impl Settler<'_> {
    pub(crate) async fn settle(&self, key: &RunKey, ended: Ended) -> Result<(), StoreError> {
        let outcome = match ended {
            Ended::Finished => Some("done"),
            Ended::Returned => self.end(key, "done", None).await?,
            Ended::Dropped => {
                self.end(key, "cancelled", Some("asked to end, and took too long to")).await?
            }
            Ended::Failed(error) => self.fail(key, &error).await?,
            // The dispatcher, or whoever took over, says what becomes of it.
            Ended::Over => None,
        };
        if let Some(outcome) = outcome {
            metrics::OCCURRENCES.with_label_values(&[outcome]).inc();
            self.nudge(&key.task).await;
        }
        Ok(())
    }

    /// Makes the dispatcher look whether one that waits may begin. It looks by itself within a second, so a failure
    /// here only costs time.
    pub(crate) async fn nudge(&self, task: &str) {
        let nudged = async { runs::nudge(&mut *self.pool.acquire().await?, task).await };
        match nudged.await {
            Ok(true) => self.waker.wake(),
            Ok(false) => {}
            Err(error) => {
                let error: &sqlx::Error = &error;
                tracing::debug!(
                    error = error_chain(error),
                    "the dispatcher was not told of an end"
                );
            }
        }
    }

    async fn end(
        &self,
        key: &RunKey,
        state: &'static str,
        reason: Option<&str>,
    ) -> Result<Option<&'static str>, StoreError> {
        let mut conn = self.pool.acquire().await?;
        Ok(runs::end(&mut conn, key, state, reason).await?.then_some(state))
    }

    /// Another attempt later, or the end; `None` when it is not this run's to say.
    async fn fail(
        &self,
        key: &RunKey,
        error: &TaskError,
    ) -> Result<Option<&'static str>, StoreError> {
        let reason = reason(error);
        let mut transaction = self.pool.begin().await?;
        let Some(run) = runs::lock_failed(&mut transaction, key).await? else { return Ok(None) };
        let outcome = match next_attempt(&run, error.class()) {
            _ if run.cancelling => {
                runs::end(&mut transaction, key, "cancelled", Some(&reason)).await?;
                Some("cancelled")
            }
            Some(wait) => {
                runs::try_again(&mut transaction, key, wait, &reason).await?;
                None
            }
            None => {
                runs::end(&mut transaction, key, "failed", Some(&reason)).await?;
                Some("failed")
            }
        };
        transaction.commit().await?;
        let (task, attempt) = (&key.task, run.attempt);
        if outcome == Some("failed") {
            tracing::error!(task.id = task, attempt, error = reason, "task `{task}` failed");
        } else {
            tracing::warn!(
                task.id = task,
                attempt,
                error = reason,
                "an attempt of task `{task}` failed"
            );
        }
        if outcome.is_none() {
            metrics::RETRIES.inc();
            self.waker.wake();
        }
        Ok(outcome)
    }
}

/// The wait before another attempt, if there is to be one.
fn next_attempt(run: &FailedRun, class: Class) -> Option<Duration> {
    let form: RetryForm = serde_json::from_str(run.retry.as_deref()?).ok()?;
    let retry = Retry::of(&form);
    let attempts = u32::try_from(run.attempt).unwrap_or(0);
    let again = class == Class::Transient && attempts < retry.attempts_max;
    again.then(|| retry.backoff.wait(attempts))
}
