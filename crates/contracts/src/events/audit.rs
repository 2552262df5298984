//! `audit-topic`: who did what to which resource. Keyed by resource, so one thing's records stay in sequence.

use millrace_envelope::{MessageContext, events};
use serde::{Deserialize, Serialize};

events! {
    /// What must be provable later.
    pub enum AuditEvent on "audit-topic", aggregate "audit", key resource {
        "audit.recorded" v1 => Recorded(AuditRecorded),
    }
}

/// One step that somebody or something took. The record's id and time are the envelope's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecorded {
    /// Who: a caller's subject, or `service:<name>` where a service acts on its own.
    pub actor: String,
    /// What, e.g. `order.place`, `reservation.hold`.
    pub action: String,
    /// On what: `<kind>/<id>`, e.g. `order/0192...`.
    pub resource: String,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// The trace it happened in, 32 hexadecimal digits.
    pub trace_id: Option<String>,
    /// What else a reader should know; flat, small, without personal data.
    pub detail: std::collections::BTreeMap<String, String>,
}

impl AuditEvent {
    /// The record of a change of one of `service`'s scheduled tasks: `task.made`, `task.paused` and so on. A task's name
    /// means something within its service only.
    #[must_use]
    pub fn task_changed(
        context: &MessageContext,
        service: &str,
        action: &str,
        task: &str,
        detail: std::collections::BTreeMap<String, String>,
    ) -> Self {
        let id = format!("{service}/{task}");
        let resource: (&str, &dyn std::fmt::Display) = ("task", &id);
        let audited = AuditRecorded::of(context, service, action, resource, AuditOutcome::Done);
        Self::Recorded(AuditRecorded { detail, ..audited })
    }
}

/// How an audited step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// It was done.
    Done,
    /// The business said no.
    Refused,
}

impl AuditOutcome {
    /// `done` or `refused`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

impl AuditRecorded {
    /// A record of what `service` did in `context`: the actor is the context's, or the service itself where
    /// nobody asked; the trace is the context's.
    #[must_use]
    pub fn of(
        context: &MessageContext,
        service: &str,
        action: &str,
        (kind, id): (&str, &dyn std::fmt::Display),
        outcome: AuditOutcome,
    ) -> Self {
        Self {
            actor: context.actor.clone().unwrap_or_else(|| format!("service:{service}")),
            action: action.to_owned(),
            resource: format!("{kind}/{id}"),
            outcome,
            trace_id: context.trace.trace_id().map(str::to_owned),
            detail: std::collections::BTreeMap::new(),
        }
    }

    /// Adds something that a reader should know.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.detail.insert(key.to_owned(), value.to_string());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_a_task_names_who_did_it_and_the_service_that_has_the_task() {
        let by = |actor: Option<&str>| {
            let context =
                MessageContext { actor: actor.map(str::to_owned), ..MessageContext::default() };
            let detail = [("version".to_owned(), "2".to_owned())].into();
            let AuditEvent::Recorded(record) =
                AuditEvent::task_changed(&context, "order", "task.paused", "upkeep", detail);
            record
        };
        let record = by(Some("ann"));
        assert_eq!((record.actor.as_str(), record.action.as_str()), ("ann", "task.paused"));
        assert_eq!(record.resource, "task/order/upkeep");
        assert_eq!((record.outcome, record.detail["version"].as_str()), (AuditOutcome::Done, "2"));
        assert_eq!(by(None).actor, "service:order", "a release did it");
    }
}
