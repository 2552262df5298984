//! What goes to `tasks`: an attempt of an occurrence is due.
//!
//! Whoever emits an event owns its form, so it stands here and not in an application's contracts. The message's id is
//! made of what it is about: an attempt dispatched again, by whatever mistake, is the same message.

use chrono::{DateTime, Utc};
use millrace_envelope::events;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

events! {
    /// What becomes due.
    pub enum TaskEvent on "tasks", aggregate "task", key key {
        "task.due" v1 => Due(TaskDue),
    }
}

/// An attempt of an occurrence is to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskDue {
    /// Whose task it is; workers of other services leave it alone.
    pub service: String,
    /// The task.
    pub task: String,
    /// The occurrence: milliseconds since 1970-01-01 UTC.
    pub instant_ms: i64,
    /// Which attempt, from 1.
    pub attempt: i32,
    /// Messages with equal keys are worked on in order.
    pub key: String,
    /// What the task says to its handler.
    pub payload: Value,
}

impl TaskDue {
    /// The message's id: the same for the same attempt of the same occurrence.
    #[must_use]
    pub fn id(&self) -> Uuid {
        let Self { service, task, instant_ms, attempt, .. } = self;
        let name = format!("{service}/{task}/{instant_ms}/{attempt}");
        Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())
    }

    /// The occurrence's instant.
    #[must_use]
    pub fn instant(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_millis(self.instant_ms)
    }
}

#[cfg(test)]
mod tests {
    use millrace_envelope::Envelope;

    use super::*;

    const GOLDEN: &str = include_str!("../tests/golden/task.due.v1.json");

    #[test]
    fn the_event_keeps_its_form_and_its_id() {
        let envelope = Envelope::<TaskEvent>::decode(GOLDEN.as_bytes()).unwrap();
        assert_eq!(envelope.to_text().unwrap(), GOLDEN.trim_end());
        let TaskEvent::Due(due) = envelope.payload;
        assert_eq!(due.id(), envelope.id);
    }
}
