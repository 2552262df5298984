//! Audit records of what is done to tasks.
//!
//! The events are Millrace's, which this crate doesn't know: a service says how an [`Entry`] becomes its event, and the
//! scheduler appends the record in the transaction of the change. What a task carries for its handler is told by its
//! size only, because it may be about somebody.

use std::collections::BTreeMap;
use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use millrace_envelope::{Event, MessageContext};
use millrace_http::actor_context;
use millrace_outbox::{EncodeError, OutboxRecord};
use millrace_runtime::Clock;
use millrace_scheduler::schedules::{Author, Change, Changed};
use millrace_scheduler::task::ScheduleForm;
use millrace_scheduler::{ChangeJournal, TaskForm};

/// One change of a task, ready to be told.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Who did it, and in which trace. Nobody where a release did: the service acts on its own then.
    pub context: MessageContext,
    /// The service whose task it is.
    pub service: &'static str,
    /// `task.made`, `task.edited`, `task.removed`, `task.paused`, `task.resumed`, `task.triggered`, `task.backfilled`.
    pub action: String,
    /// The task's name.
    pub task: String,
    /// The version and what the change consists of; flat and bounded.
    pub detail: BTreeMap<String, String>,
}

type Write = dyn Fn(Entry, &Clock) -> Result<OutboxRecord, EncodeError> + Send + Sync;

/// A service's journal of changes: give it to `Schedules`.
pub struct Journal {
    service: &'static str,
    clock: Clock,
    write: Box<Write>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journal({})", self.service)
    }
}

impl Journal {
    /// A journal whose entries become events as `event` says.
    #[must_use]
    pub fn new<E, F>(service: &'static str, clock: Clock, event: F) -> Self
    where
        E: Event + Clone,
        F: Fn(Entry) -> E + Send + Sync + 'static,
    {
        let write = move |entry: Entry, clock: &Clock| {
            let context = entry.context.clone();
            OutboxRecord::of(service, &event(entry), &context, clock)
        };
        Self { service, clock, write: Box::new(write) }
    }
}

impl ChangeJournal for Journal {
    fn record(&self, change: &Change) -> Result<Option<OutboxRecord>, EncodeError> {
        let context = match &change.by {
            Author::Principal(name) => actor_context(name),
            Author::Release => MessageContext::of_own_work(millrace_telemetry::current_trace()),
        };
        let entry = Entry {
            context,
            service: self.service,
            action: format!("task.{}", change.what.as_str()),
            task: change.task.to_string(),
            detail: detail(change),
        };
        (self.write)(entry, &self.clock).map(Some)
    }
}

fn detail(change: &Change) -> BTreeMap<String, String> {
    let mut detail: BTreeMap<String, String> = match &change.what {
        Changed::Made { form } => told(form),
        Changed::Edited { before: Some(before), after } => edited(before, after),
        Changed::Edited { before: None, after } => told(after),
        Changed::Removed | Changed::Resumed => BTreeMap::new(),
        Changed::Paused { note } => [("note".to_owned(), note.clone())].into(),
        Changed::Triggered { instant } => [("instant".to_owned(), text(*instant))].into(),
        Changed::Backfilled { from, to, occurrences, overlap } => [
            ("from".to_owned(), text(*from)),
            ("to".to_owned(), text(*to)),
            ("occurrences".to_owned(), occurrences.to_string()),
            ("overlap".to_owned(), overlap.as_str().to_owned()),
        ]
        .into(),
    };
    detail.insert("version".to_owned(), change.version.to_string());
    detail
}

/// What a form says, a line a field.
fn told(form: &TaskForm) -> BTreeMap<String, String> {
    let schedule = match &form.schedule {
        ScheduleForm::Cron { expression, zone, dst } => {
            format!("cron {expression} in {zone}, dst {}", dst.as_str())
        }
        ScheduleForm::Every { interval_ms, anchor_ms } => {
            format!("every {interval_ms} ms from {anchor_ms}")
        }
        ScheduleForm::At { instant_ms } => format!("at {instant_ms}"),
    };
    let retry = form.retry;
    let mut told: BTreeMap<String, String> = [
        ("schedule", schedule),
        ("payload", format!("{} bytes", form.payload.to_string().len())),
        ("overlap", form.overlap.as_str().to_owned()),
        ("catch_up_ms", form.catch_up_ms.to_string()),
        ("jitter_ms", form.jitter_ms.to_string()),
        ("deadline_ms", form.deadline_ms.to_string()),
        ("attempts_max", retry.attempts_max.to_string()),
        ("backoff_ms", format!("{} to {}", retry.backoff_min_ms, retry.backoff_max_ms)),
    ]
    .map(|(field, value)| (field.to_owned(), value))
    .into();
    if let Some(key) = &form.partition_key {
        told.insert("partition_key".to_owned(), key.clone());
    }
    if let Some(retention) = form.retention_ms {
        told.insert("retention_ms".to_owned(), retention.to_string());
    }
    told
}

fn edited(before: &TaskForm, after: &TaskForm) -> BTreeMap<String, String> {
    let mut changed = difference(&told(before), told(after));
    // Another payload of the same size is another payload.
    if before.payload != after.payload {
        changed
            .entry("payload".to_owned())
            .or_insert_with(|| "changed, of the same size".to_owned());
    }
    changed
}

/// The fields that differ, each as `before -> after`.
fn difference(
    before: &BTreeMap<String, String>,
    after: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let none = || "none".to_owned();
    let gone = before.keys().filter(|field| !after.contains_key(*field)).cloned();
    let gone: Vec<(String, String)> = gone.map(|field| (field, none())).collect();
    let fields = after.into_iter().chain(gone);
    fields
        .filter_map(|(field, now)| {
            let then = before.get(&field).cloned().unwrap_or_else(none);
            (then != now).then(|| (field, format!("{then} -> {now}")))
        })
        .collect()
}

fn text(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use millrace_scheduler::TaskId;
    use millrace_scheduler::policy::Overlap;

    use super::*;

    #[test]
    fn an_edit_tells_what_differs_and_no_payload() {
        let before = TaskForm { partition_key: Some("a".into()), ..TaskForm::at(5) };
        let after = TaskForm {
            overlap: Overlap::AllowAll,
            payload: serde_json::json!({ "customer": "ann" }),
            ..TaskForm::at(6)
        };
        let change = Change {
            task: TaskId::parse("t").unwrap(),
            version: 3,
            by: Author::from("ann"),
            at: DateTime::UNIX_EPOCH,
            what: Changed::Edited { before: Some(Box::new(before)), after: Box::new(after) },
        };
        let expected = [
            ("overlap", "skip -> allow_all"),
            ("partition_key", "a -> none"),
            ("payload", "4 bytes -> 18 bytes"),
            ("schedule", "at 5 -> at 6"),
            ("version", "3"),
        ];
        let told = detail(&change);
        let told: Vec<(&str, &str)> =
            told.iter().map(|(field, value)| (field.as_str(), value.as_str())).collect();
        assert_eq!(told, expected);
    }
}
