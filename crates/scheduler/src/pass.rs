//! One look at due tasks, in one transaction: what is due is decided, written, and told to the outbox, or nothing is.
//!
//! Nobody is waited for. A task that another transaction has locked is left to it, and a task that must change an
//! occurrence which a worker's transaction holds is put off whole, so that its steps stay in their order. The
//! database's clock decides what is due; this process's clock has no say.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_envelope::{Envelope, MessageContext};
use millrace_outbox::{EncodeError, OutboxRecord, append};
use millrace_resilience::{Class, Classify};
use millrace_telemetry::{error_chain, trace_of};
use sqlx::PgConnection;

use crate::calendar::Expressions;
use crate::event::{TaskDue, TaskEvent};
use crate::metrics;
use crate::plan::{Dispatch, Plan, plan};
use crate::store::apply::{self, Moved, OccurrenceKey, Written};
use crate::store::due::{self, DueTask};
use crate::store::state::OccurrenceState;
use crate::task::{TaskForm, TaskSpec};

/// How soon a task is looked at again whose occurrence a worker's transaction held.
const HELD_RETRY: TimeDelta = TimeDelta::milliseconds(250);
/// How soon a task is looked at again whose form this release can't read: a newer release may dispatch it.
const UNREADABLE_RETRY: TimeDelta = TimeDelta::seconds(60);
/// Bytes of payloads that one look tells at most, give or take one task.
const PAYLOAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a look ended without an effect.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The database failed.
    #[error("due tasks were not dispatched")]
    Store(#[from] sqlx::Error),
    /// An occurrence has no message.
    #[error("an occurrence of task `{task}` has no message")]
    Encode {
        /// The task.
        task: String,
        /// Why not.
        #[source]
        source: EncodeError,
    },
}

impl Classify for PassError {
    fn class(&self) -> Class {
        match self {
            Self::Store(error) => millrace_outbox::class_of(error),
            Self::Encode { source, .. } => source.class(),
        }
    }
}

/// What a look did. Counted only when its transaction has committed.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// Tasks that were taken up.
    pub(crate) tasks: usize,
    /// There may be more that is due now.
    pub(crate) full: bool,
    /// Attempts told to the workers.
    pub(crate) dispatched: usize,
    /// How late each of them was.
    lags: Vec<f64>,
    /// Occurrences that ended in this look, by how.
    ended: HashMap<OccurrenceState, u64>,
    /// Until a task needs the next look.
    pub(crate) next_look: Option<Duration>,
}

impl Looked {
    /// Counts it, after the commit.
    pub(crate) fn count(&self) {
        metrics::DISPATCHED.inc_by(u64::try_from(self.dispatched).unwrap_or(u64::MAX));
        self.lags.iter().for_each(|lag| metrics::DISPATCH_LAG.observe(*lag));
        for (state, count) in &self.ended {
            metrics::OCCURRENCES.with_label_values(&[state.as_str()]).inc_by(*count);
        }
    }
}

/// What looks of one service have in common.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    pub(crate) service: String,
    pub(crate) batch: u16,
    pub(crate) expressions: Expressions,
}

/// What all tasks of a look come to.
#[derive(Default)]
struct Changes {
    create: Vec<Written>,
    alter: Vec<Written>,
    moved: Vec<Moved>,
    dispatch: Vec<(OccurrenceKey, OutboxRecord, f64)>,
}

/// One task's plan with its messages.
struct Planned {
    plan: Plan,
    records: Vec<(OccurrenceKey, OutboxRecord, f64)>,
}

impl Pass {
    /// One look in the caller's transaction, under the token that its fence has accepted, if there is one.
    pub(crate) async fn look(
        &self,
        conn: &mut PgConnection,
        fence: Option<i64>,
    ) -> Result<Looked, PassError> {
        let tasks = due::lock(conn, self.batch).await?;
        let full = tasks.len() >= usize::from(self.batch);
        let mut looked = Looked { tasks: tasks.len(), full, ..Looked::default() };
        if !tasks.is_empty() {
            let (planned, left) = self.decide(conn, &tasks).await?;
            looked.full |= left;
            let changes = settle(conn, planned, tasks[0].now).await?;
            write(conn, changes, fence, &mut looked).await?;
        }
        let next_look = due::next_look(conn).await?;
        looked.next_look = next_look.map(|wait| Duration::from_secs_f64(wait.max(0.0)));
        Ok(looked)
    }

    /// Decides on tasks until enough is to be told; true when some are left.
    async fn decide(
        &self,
        conn: &mut PgConnection,
        tasks: &[DueTask],
    ) -> Result<(Vec<Planned>, bool), PassError> {
        let ids: Vec<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
        let mut open = due::open(conn, &ids).await?;
        let (mut planned, mut told, mut bytes) = (Vec::new(), 0, 0);
        for task in tasks {
            if told >= usize::from(self.batch) || bytes >= PAYLOAD_BYTES_MAX {
                return Ok((planned, true));
            }
            let Some(spec) = self.spec(task) else {
                let look_at = Some(task.now + UNREADABLE_RETRY);
                let moved = Moved { task: task.id.clone(), next_at: task.next_at, look_at };
                let plan = Plan { moved: Some(moved), ..Plan::default() };
                planned.push(Planned { plan, records: Vec::new() });
                continue;
            };
            let mut plan = plan(task, &spec, &open.remove(&task.id).unwrap_or_default());
            let records = self.records(task, &spec, &mut plan)?;
            told += records.len();
            bytes += records.len() * spec.payload_bytes();
            planned.push(Planned { plan, records });
        }
        Ok((planned, false))
    }

    /// What the stored form means; one that can't be read is somebody else's, or nobody's.
    fn spec(&self, task: &DueTask) -> Option<TaskSpec> {
        let form: Result<TaskForm, _> = serde_json::from_str(&task.spec);
        let refusal = match form {
            Ok(form) => match TaskSpec::try_from_form_with(form, &self.expressions) {
                Ok(spec) => return Some(spec),
                Err(refused) => error_chain(&refused),
            },
            Err(unreadable) => error_chain(&unreadable),
        };
        metrics::UNREADABLE.inc();
        tracing::warn!(
            task.id = task.id,
            error = refusal,
            "task `{}` can't be read by this release and was left for a minute",
            task.id
        );
        None
    }

    fn records(
        &self,
        task: &DueTask,
        spec: &TaskSpec,
        plan: &mut Plan,
    ) -> Result<Vec<(OccurrenceKey, OutboxRecord, f64)>, PassError> {
        let mut records = Vec::with_capacity(plan.dispatch.len());
        for dispatch in std::mem::take(&mut plan.dispatch) {
            let (record, trace_id) = self
                .record(task, spec, &dispatch)
                .map_err(|source| PassError::Encode { task: task.id.clone(), source })?;
            let rows = plan.create.iter_mut().chain(plan.alter.iter_mut().map(|(_, row)| row));
            rows.filter(|row| row.instant == dispatch.instant && row.dispatched)
                .for_each(|row| row.trace_id.clone_from(&trace_id));
            let lag = (task.now - dispatch.fire_at).as_seconds_f64().max(0.0);
            records.push(((task.id.clone(), dispatch.instant), record, lag));
        }
        Ok(records)
    }

    /// The message of one attempt, at the beginning of a trace of its own.
    fn record(
        &self,
        task: &DueTask,
        spec: &TaskSpec,
        dispatch: &Dispatch,
    ) -> Result<(OutboxRecord, Option<String>), EncodeError> {
        let span = tracing::info_span!(
            parent: None,
            "dispatch task",
            otel.kind = "producer",
            task.id = task.id,
            task.attempt = dispatch.attempt,
        );
        let due = TaskDue {
            service: self.service.clone(),
            task: task.id.clone(),
            instant_ms: dispatch.instant.timestamp_millis(),
            attempt: dispatch.attempt,
            key: spec.key(&task.id, dispatch.instant, dispatch.overlap),
            payload: spec.form().payload.clone(),
        };
        let id = due.id();
        let trace = trace_of(&span);
        let trace_id = trace.trace_id().map(str::to_owned);
        let correlation_id = Some(id.to_string());
        let context = MessageContext { correlation_id, trace, ..MessageContext::default() };
        let now_ms = task.now.timestamp_millis();
        let envelope = Envelope::new(id, self.service.as_str(), now_ms, TaskEvent::Due(due));
        Ok((OutboxRecord::of_envelope(&envelope, &context)?, trace_id))
    }
}

/// Locks the rows that are to be changed, and puts tasks off whose rows are held or no longer what was decided on.
async fn settle(
    conn: &mut PgConnection,
    planned: Vec<Planned>,
    now: DateTime<Utc>,
) -> Result<Changes, PassError> {
    let key = |row: &Written| (row.task.clone(), row.instant);
    let altered: Vec<OccurrenceKey> =
        planned.iter().flat_map(|one| &one.plan.alter).map(|(_, row)| key(row)).collect();
    let standing = apply::lock(conn, &altered).await?;
    let mut changes = Changes::default();
    for Planned { plan, records } in planned {
        let Some(moved) = plan.moved else { continue };
        let held = plan.alter.iter().any(|(_, row)| !standing.contains_key(&key(row)));
        let moved_on =
            plan.alter.iter().any(|(before, row)| standing.get(&key(row)) != Some(before));
        if held || moved_on {
            // Nothing of the plan happens, so the next instant is still the one that it was made for.
            changes.moved.push(Moved {
                next_at: plan.next_before,
                look_at: Some(if held { now + HELD_RETRY } else { now }),
                ..moved
            });
            continue;
        }
        changes.create.extend(plan.create);
        changes.alter.extend(plan.alter.into_iter().map(|(_, row)| row));
        changes.moved.push(moved);
        changes.dispatch.extend(records);
    }
    Ok(changes)
}

async fn write(
    conn: &mut PgConnection,
    changes: Changes,
    fence: Option<i64>,
    looked: &mut Looked,
) -> Result<(), PassError> {
    let Changes { create, alter, moved, dispatch } = changes;
    let new = apply::insert(conn, &create, fence).await?;
    apply::update(conn, &alter, fence).await?;
    let altered: HashSet<(&str, DateTime<Utc>)> =
        alter.iter().map(|row| (row.task.as_str(), row.instant)).collect();
    let mut records = Vec::with_capacity(dispatch.len());
    for (key, record, lag) in dispatch {
        // One that somebody else has created is theirs to tell.
        if new.contains(&key) || altered.contains(&(key.0.as_str(), key.1)) {
            records.push(record);
            looked.lags.push(lag);
        }
    }
    append(conn, &records).await?;
    apply::move_tasks(conn, &moved).await?;
    looked.dispatched = records.len();
    let created = create.iter().filter(|row| new.contains(&(row.task.clone(), row.instant)));
    for row in created.chain(&alter).filter(|row| row.state.ended()) {
        *looked.ended.entry(row.state).or_default() += 1;
    }
    Ok(())
}
