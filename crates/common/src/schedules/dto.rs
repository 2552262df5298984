//! What the API takes. Instants are milliseconds since 1970-01-01 UTC, spans are milliseconds, unknown fields
//! are refused, and what a body leaves out is as the scheduler has it.

use chrono::{DateTime, Utc};
use millrace_http::ApiError;
use millrace_http::search::{PageLimit, SearchInstant};
use millrace_scheduler::schedules::Backfill;
use millrace_scheduler::task::{RetryForm, ScheduleForm};
use millrace_scheduler::{TaskForm, TaskId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::words::{DstDto, OverlapDto, StateDto};

/// When a task is due.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ScheduleDto {
    /// By the wall clock of a zone.
    Cron {
        /// Minute, hour, day of month, month, day of week; seconds may stand before them.
        #[schema(max_length = 256, example = "30 2 * * *")]
        expression: String,
        /// An IANA name.
        #[schema(example = "Europe/Berlin")]
        zone: String,
        /// What changes of the clock do; `once` unless given.
        #[serde(default = "once")]
        dst: DstDto,
    },
    /// By elapsed time.
    Every {
        /// 1 second to 366 days.
        #[schema(minimum = 1000, example = 300_000)]
        interval_ms: u64,
        /// An instant that it is counted from; 0 unless given.
        #[serde(default)]
        #[schema(minimum = 0)]
        anchor_ms: i64,
    },
    /// Once.
    At {
        /// When, milliseconds since 1970-01-01 UTC.
        #[schema(minimum = 0)]
        instant_ms: i64,
    },
}

fn once() -> DstDto {
    DstDto::Once
}

/// A task without its name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskBody {
    schedule: ScheduleDto,
    /// What its handler is given, at most 16 KiB as text.
    payload: Option<Value>,
    /// Occurrences with equal keys are worked on in order; the task's name unless given.
    #[schema(min_length = 1, max_length = 128)]
    partition_key: Option<String>,
    /// `skip` unless given.
    overlap: Option<OverlapDto>,
    /// How late an occurrence may begin that was due while nobody dispatched: 10 s to 30 days, 1 minute unless given.
    #[schema(minimum = 10_000, maximum = 2_592_000_000_u64)]
    catch_up_ms: Option<u64>,
    /// How far beginnings are spread: up to 1 day, 0 unless given.
    #[schema(maximum = 86_400_000)]
    jitter_ms: Option<u64>,
    retry: Option<RetryBody>,
    /// How long an attempt may take, from its dispatch: 1 s to 7 days, 1 hour unless given.
    #[schema(minimum = 1000, maximum = 604_800_000)]
    deadline_ms: Option<u64>,
    /// How long its ended occurrences are kept: 1 hour to 3660 days, and never longer than the service's setting says.
    #[schema(minimum = 3_600_000, maximum = 316_224_000_000_u64)]
    retention_ms: Option<u64>,
}

/// What happens after a failure that may pass.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryBody {
    /// Attempts in all; 5 unless given.
    #[schema(minimum = 1, maximum = 100)]
    attempts_max: Option<u32>,
    /// The wait before the second; 1 s unless given.
    #[schema(minimum = 10, maximum = 86_400_000)]
    backoff_min_ms: Option<u64>,
    /// No wait is longer; 1 minute unless given.
    #[schema(minimum = 10, maximum = 86_400_000)]
    backoff_max_ms: Option<u64>,
}

impl TaskBody {
    /// What was sent, and the scheduler's defaults for the rest; nothing is checked yet.
    pub(super) fn form(self) -> TaskForm {
        let form = TaskForm::with(self.schedule.into());
        let retry = self.retry.map_or(form.retry, |retry| RetryForm {
            attempts_max: retry.attempts_max.unwrap_or(form.retry.attempts_max),
            backoff_min_ms: retry.backoff_min_ms.unwrap_or(form.retry.backoff_min_ms),
            backoff_max_ms: retry.backoff_max_ms.unwrap_or(form.retry.backoff_max_ms),
        });
        TaskForm {
            payload: self.payload.unwrap_or(form.payload),
            partition_key: self.partition_key,
            overlap: self.overlap.map_or(form.overlap, Into::into),
            catch_up_ms: self.catch_up_ms.unwrap_or(form.catch_up_ms),
            jitter_ms: self.jitter_ms.unwrap_or(form.jitter_ms),
            retry,
            deadline_ms: self.deadline_ms.unwrap_or(form.deadline_ms),
            retention_ms: self.retention_ms,
            schedule: form.schedule,
        }
    }
}

impl From<ScheduleDto> for ScheduleForm {
    fn from(schedule: ScheduleDto) -> Self {
        match schedule {
            ScheduleDto::Cron { expression, zone, dst } => {
                Self::Cron { expression, zone, dst: dst.into() }
            }
            ScheduleDto::Every { interval_ms, anchor_ms } => Self::Every { interval_ms, anchor_ms },
            ScheduleDto::At { instant_ms } => Self::At { instant_ms },
        }
    }
}

impl From<ScheduleForm> for ScheduleDto {
    fn from(schedule: ScheduleForm) -> Self {
        match schedule {
            ScheduleForm::Cron { expression, zone, dst } => {
                Self::Cron { expression, zone, dst: dst.into() }
            }
            ScheduleForm::Every { interval_ms, anchor_ms } => {
                Self::Every { interval_ms, anchor_ms }
            }
            ScheduleForm::At { instant_ms } => Self::At { instant_ms },
        }
    }
}

/// A name out of the path.
pub(super) fn task_id(text: &str) -> Result<TaskId, ApiError> {
    let rule = || format!("must be 1 to {} of a-z, 0-9, `.`, `_` and `-`", TaskId::LENGTH_MAX);
    TaskId::parse(text).map_err(|refused| ApiError::invalid("id", rule()).with_source(refused))
}

/// The version that the caller has seen.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct VersionQuery {
    /// The task's `version` as the caller has seen it.
    #[param(minimum = 0)]
    expected_version: Option<i64>,
}

impl VersionQuery {
    pub(super) fn get(&self) -> Result<Option<i64>, ApiError> {
        match self.expected_version {
            Some(version) if version < 0 => {
                Err(ApiError::invalid("expected_version", "must be at least 0"))
            }
            expected => Ok(expected),
        }
    }

    pub(super) fn required(&self) -> Result<i64, ApiError> {
        let missing = || ApiError::invalid("expected_version", "must be given");
        self.get()?.ok_or_else(missing)
    }
}

/// Which page of the tasks.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Most tasks of the page.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    pub(super) limit: PageLimit<50, 200>,
    /// `next_cursor` of the page before. It is a task's name: the list is ordered by names and hides none of them, so
    /// nothing is gained by making one up.
    cursor: Option<String>,
}

impl ListQuery {
    pub(super) fn after(&self) -> Result<Option<TaskId>, ApiError> {
        let bad = |refused| {
            ApiError::invalid("cursor", "was not given out for this list").with_source(refused)
        };
        self.cursor.as_deref().map(TaskId::parse).transpose().map_err(bad)
    }
}

/// Which part of a task's history.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuery {
    /// Most occurrences of the page.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 200)]
    pub(super) limit: PageLimit<10, 200>,
    /// Only those in this state.
    pub(super) state: Option<StateDto>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl HistoryQuery {
    /// The instant that a cursor is, in microseconds, which is what PostgreSQL keeps. Years beyond 9999 are none that
    /// a page could have ended with.
    pub(super) fn before(&self) -> Result<Option<DateTime<Utc>>, ApiError> {
        const LAST: i64 = 253_402_300_799_999_999;
        let read = |text: &String| {
            let micros: i64 = text.parse().ok().filter(|micros| (0..=LAST).contains(micros))?;
            DateTime::from_timestamp_micros(micros)
        };
        let bad = || ApiError::invalid("cursor", "was not given out for this history");
        self.cursor.as_ref().map(|text| read(text).ok_or_else(bad)).transpose()
    }
}

/// How many instants.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ForecastQuery {
    /// Most instants of the reply.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100)]
    pub(super) count: PageLimit<10, 100>,
}

/// Why nothing shall begin.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PauseBody {
    /// For whoever wonders later.
    #[schema(min_length = 1, max_length = 1000)]
    pub(super) note: String,
}

/// A range of the past to be worked on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BackfillBody {
    /// The first instant that counts; RFC 3339 or milliseconds since 1970-01-01 UTC.
    #[schema(value_type = String, example = "2026-01-31T00:00:00Z")]
    from: SearchInstant,
    /// The last instant that counts, not in the future.
    #[schema(value_type = String, example = "2026-01-31T23:59:59Z")]
    to: SearchInstant,
    /// How many occurrences the caller expects at most; a range with more is refused whole.
    #[schema(minimum = 1, maximum = 10_000)]
    max: u32,
    /// What they do while another is open; `buffer_all` unless given.
    overlap: Option<OverlapDto>,
}

impl BackfillBody {
    pub(super) fn range(&self) -> Backfill {
        let range = Backfill::of(self.from.get(), self.to.get(), self.max);
        let overlap = self.overlap.map_or(range.overlap, Into::into);
        Backfill { overlap, ..range }
    }
}
