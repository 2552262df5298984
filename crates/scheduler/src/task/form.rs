//! A task as it is written down: by an operator, in code, and in the table's column `spec`.
//!
//! This is the one place of the crate with serde, because what stands in the table must be readable by the next release.
//! Spans are milliseconds; instants are milliseconds since 1970-01-01 UTC.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::calendar::DstPolicy;
use crate::policy::Overlap;

/// A task without its name. Start from [`TaskForm::cron`], [`TaskForm::every`] or [`TaskForm::at`] and change fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskForm {
    /// When it is due.
    pub schedule: ScheduleForm,
    /// What its handler is given, at most [`crate::TaskSpec::PAYLOAD_BYTES_MAX`] as text.
    pub payload: Value,
    /// Occurrences with equal keys are worked on in order, by one worker at a time; the task's name unless given.
    pub partition_key: Option<String>,
    /// What happens while an earlier occurrence is open.
    #[serde(with = "super::words::overlap")]
    pub overlap: Overlap,
    /// How late an occurrence may begin that was due while nobody dispatched.
    pub catch_up_ms: u64,
    /// How far beginnings are spread.
    pub jitter_ms: u64,
    /// What happens after a failure.
    pub retry: RetryForm,
    /// How long an attempt may take, from its dispatch.
    pub deadline_ms: u64,
    /// How long its ended occurrences are kept, if that is less than the service's setting says. For a task that is due
    /// every few seconds, of which a month is half a million rows.
    #[serde(default)]
    pub retention_ms: Option<u64>,
}

/// When a task is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ScheduleForm {
    /// By the wall clock of a zone.
    Cron {
        /// The times.
        expression: String,
        /// An IANA name.
        zone: String,
        /// What changes of the clock do.
        #[serde(with = "super::words::dst")]
        dst: DstPolicy,
    },
    /// By elapsed time.
    Every {
        /// The span.
        interval_ms: u64,
        /// What it is counted from.
        anchor_ms: i64,
    },
    /// Once.
    At {
        /// When.
        instant_ms: i64,
    },
}

/// What happens after a failure that may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryForm {
    /// Attempts in all, the first included.
    pub attempts_max: u32,
    /// The wait before the second; each further one is twice as long.
    pub backoff_min_ms: u64,
    /// No wait is longer.
    pub backoff_max_ms: u64,
}

impl TaskForm {
    /// By the wall clock; times that a change of the clock removes or repeats are taken once.
    #[must_use]
    pub fn cron(expression: impl Into<String>, zone: impl Into<String>) -> Self {
        let (expression, zone) = (expression.into(), zone.into());
        Self::with(ScheduleForm::Cron { expression, zone, dst: DstPolicy::Once })
    }

    /// By elapsed time, counted from 1970 so that neither a restart nor an edit moves the instants.
    #[must_use]
    pub fn every(interval: Duration) -> Self {
        Self::with(ScheduleForm::Every { interval_ms: millis(interval), anchor_ms: 0 })
    }

    /// Once, at an instant in milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn at(instant_ms: i64) -> Self {
        Self::with(ScheduleForm::At { instant_ms })
    }

    /// Everything but the schedule as it is unless somebody says otherwise.
    #[must_use]
    pub fn with(schedule: ScheduleForm) -> Self {
        let retry = RetryForm { attempts_max: 5, backoff_min_ms: 1_000, backoff_max_ms: 60_000 };
        Self {
            schedule,
            payload: Value::Null,
            partition_key: None,
            overlap: Overlap::Skip,
            catch_up_ms: 60_000,
            jitter_ms: 0,
            retry,
            deadline_ms: 3_600_000,
            retention_ms: None,
        }
    }
}

/// A span in whole milliseconds; longer ones than any bound stay that.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
