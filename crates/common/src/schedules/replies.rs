//! What the API gives. Instants are milliseconds since 1970-01-01 UTC, spans are milliseconds.

use chrono::{DateTime, Utc};
use millrace_scheduler::schedules::{Missed, Occurrence, Page, Paused, Task};
use millrace_scheduler::task::RetryForm;
use millrace_scheduler::{TaskForm, TaskId};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::dto::ScheduleDto;
use super::words::{KindDto, OverlapDto, StateDto};

/// A task as it is now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TaskReply {
    id: String,
    /// `code` = declared by a release, `operator` = made here.
    #[schema(example = "operator")]
    origin: &'static str,
    /// Rises with every change; an edit names the one it has seen.
    pub(super) version: i64,
    schedule: ScheduleDto,
    payload: Value,
    partition_key: Option<String>,
    overlap: OverlapDto,
    catch_up_ms: u64,
    jitter_ms: u64,
    retry: RetryReply,
    deadline_ms: u64,
    /// Null where the service's setting holds.
    retention_ms: Option<u64>,
    /// Set while nothing begins.
    paused: Option<PausedReply>,
    /// The next instant of its schedule; null when there is none, or while it is paused.
    next_at: Option<i64>,
    created_at: i64,
    updated_at: i64,
}

/// What happens after a failure that may pass.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RetryReply {
    attempts_max: u32,
    backoff_min_ms: u64,
    backoff_max_ms: u64,
}

/// A pause.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PausedReply {
    at: i64,
    by: String,
    note: String,
}

impl From<Task> for TaskReply {
    fn from(task: Task) -> Self {
        let TaskForm { schedule, payload, partition_key, overlap, .. } = task.form;
        let RetryForm { attempts_max, backoff_min_ms, backoff_max_ms } = task.form.retry;
        let next_at = task.next_at.filter(|_| task.paused.is_none());
        let paused = |Paused { at, by, note }| PausedReply { at: ms(at), by, note };
        Self {
            id: task.id.to_string(),
            origin: task.origin.as_str(),
            version: task.version,
            schedule: schedule.into(),
            payload,
            partition_key,
            overlap: overlap.into(),
            catch_up_ms: task.form.catch_up_ms,
            jitter_ms: task.form.jitter_ms,
            retry: RetryReply { attempts_max, backoff_min_ms, backoff_max_ms },
            deadline_ms: task.form.deadline_ms,
            retention_ms: task.form.retention_ms,
            paused: task.paused.map(paused),
            next_at: next_at.map(ms),
            created_at: ms(task.created_at),
            updated_at: ms(task.updated_at),
        }
    }
}

/// One page of the tasks, in the order of their names.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TaskPage {
    tasks: Vec<TaskReply>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

impl From<Page<Task, TaskId>> for TaskPage {
    fn from(page: Page<Task, TaskId>) -> Self {
        let tasks = page.items.into_iter().map(TaskReply::from).collect();
        Self { tasks, next_cursor: page.next.map(|id| id.to_string()) }
    }
}

/// One page of a task's history, the last occurrence first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HistoryPage {
    occurrences: Vec<OccurrenceReply>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// One occurrence.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OccurrenceReply {
    /// Its identity within the task.
    instant: i64,
    state: StateDto,
    kind: KindDto,
    /// When it was to begin, or its next attempt.
    fire_at: i64,
    /// The last attempt, from 1; 0 before the first.
    attempt: i32,
    dispatched_at: Option<i64>,
    started_at: Option<i64>,
    ended_at: Option<i64>,
    /// Which worker took it last.
    worker: Option<String>,
    /// Why it ended so, or why its last attempt failed.
    reason: Option<String>,
    /// The trace of its last attempt.
    trace_id: Option<String>,
    missed: Option<MissedReply>,
}

/// Set where the occurrence stands for a span of missed instants.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MissedReply {
    /// The last of them.
    until: i64,
    /// How many; null when they were too many to count.
    count: Option<i32>,
}

impl From<Page<Occurrence, DateTime<Utc>>> for HistoryPage {
    fn from(page: Page<Occurrence, DateTime<Utc>>) -> Self {
        let occurrences = page.items.into_iter().map(OccurrenceReply::from).collect();
        let next_cursor = page.next.map(|instant| instant.timestamp_micros().to_string());
        Self { occurrences, next_cursor }
    }
}

impl From<Occurrence> for OccurrenceReply {
    fn from(occurrence: Occurrence) -> Self {
        Self {
            instant: ms(occurrence.instant),
            state: occurrence.state.into(),
            kind: occurrence.kind.into(),
            fire_at: ms(occurrence.fire_at),
            attempt: occurrence.attempt,
            dispatched_at: occurrence.dispatched_at.map(ms),
            started_at: occurrence.started_at.map(ms),
            ended_at: occurrence.ended_at.map(ms),
            worker: occurrence.worker,
            reason: occurrence.reason,
            trace_id: occurrence.trace_id,
            missed: occurrence
                .missed
                .map(|Missed { until, count }| MissedReply { until: ms(until), count }),
        }
    }
}

/// Instants to come.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ForecastReply {
    instants: Vec<i64>,
}

impl From<Vec<DateTime<Utc>>> for ForecastReply {
    fn from(instants: Vec<DateTime<Utc>>) -> Self {
        Self { instants: instants.into_iter().map(ms).collect() }
    }
}

/// A task that is gone.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RemovedReply {
    pub(super) id: String,
}

/// An occurrence that was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TriggeredReply {
    /// Its identity within the task, to be found in the history.
    instant: i64,
}

impl From<DateTime<Utc>> for TriggeredReply {
    fn from(instant: DateTime<Utc>) -> Self {
        Self { instant: ms(instant) }
    }
}

/// Occurrences that were asked for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BackfilledReply {
    /// How many are made; those that had happened are not made again.
    pub(super) occurrences: u64,
}

fn ms(instant: DateTime<Utc>) -> i64 {
    instant.timestamp_millis()
}
