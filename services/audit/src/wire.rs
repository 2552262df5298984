//! Between contracts and domain: an audit record's id, time and service are its envelope's.

use millrace_common::envelope::Envelope;
use millrace_contracts::events::{AuditEvent, AuditOutcome, AuditRecorded};

use crate::domain::{AuditRecord, Malformed, Outcome, RecordParts};

pub(crate) fn record_of(envelope: &Envelope<AuditEvent>) -> Result<AuditRecord, Malformed> {
    let AuditEvent::Recorded(AuditRecorded { actor, action, resource, outcome, trace_id, detail }) =
        envelope.payload.clone();
    AuditRecord::parse(RecordParts {
        id: envelope.id,
        actor,
        action,
        resource,
        outcome: match outcome {
            AuditOutcome::Done => Outcome::Done,
            AuditOutcome::Refused => Outcome::Refused,
        },
        service: envelope.source.clone(),
        trace_id,
        occurred_at_ms: envelope.timestamp,
        detail,
    })
}
