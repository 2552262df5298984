//! One record of the trail.
//!
//! A record that exists can be stored and found: its texts fit the columns and the index pages, hold no NUL
//! (PostgreSQL's text can't), and its time is one that a calendar shows. Whatever doesn't fit is refused whole
//! and kept as a dead letter: a record that was shortened would say something that its sender did not.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Longest actor, in bytes.
pub(crate) const ACTOR_BYTES_MAX: usize = 512;
/// Longest action, in bytes.
pub(crate) const ACTION_BYTES_MAX: usize = 128;
/// Longest resource, in bytes; an index entry must stay below a third of PostgreSQL's page.
pub(crate) const RESOURCE_BYTES_MAX: usize = 1024;
/// Longest service name, in bytes.
pub(crate) const SERVICE_BYTES_MAX: usize = 128;
/// Most bytes of all details together.
const DETAIL_BYTES_MAX: usize = 16 * 1024;
/// 9999-12-31T23:59:59.999Z: the last instant that RFC 3339 can write.
const OCCURRED_AT_MS_MAX: i64 = 253_402_300_799_999;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Refused,
}

impl Outcome {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
        }
    }
}

/// The parts of a record as they came.
#[derive(Debug, Clone)]
pub(crate) struct RecordParts {
    pub(crate) id: Uuid,
    pub(crate) actor: String,
    pub(crate) action: String,
    pub(crate) resource: String,
    pub(crate) outcome: Outcome,
    pub(crate) service: String,
    pub(crate) trace_id: Option<String>,
    pub(crate) occurred_at_ms: i64,
    pub(crate) detail: BTreeMap<String, String>,
}

/// A record that can be stored and found.
#[derive(Debug, Clone)]
pub(crate) struct AuditRecord {
    pub(crate) id: Uuid,
    pub(crate) actor: String,
    pub(crate) action: String,
    pub(crate) resource: String,
    pub(crate) outcome: Outcome,
    pub(crate) service: String,
    pub(crate) trace_id: Option<String>,
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) detail: BTreeMap<String, String>,
}

/// Why a record can't be stored as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("audit record {id}: `{field}` {problem}")]
pub(crate) struct Malformed {
    pub(crate) id: Uuid,
    pub(crate) field: &'static str,
    pub(crate) problem: &'static str,
}

impl AuditRecord {
    /// Checks the parts and puts them together.
    pub(crate) fn parse(parts: RecordParts) -> Result<Self, Malformed> {
        let malformed = |field| move |problem| Malformed { id: parts.id, field, problem };
        storable(&parts.actor, ACTOR_BYTES_MAX).map_err(malformed("actor"))?;
        storable(&parts.action, ACTION_BYTES_MAX).map_err(malformed("action"))?;
        storable(&parts.resource, RESOURCE_BYTES_MAX).map_err(malformed("resource"))?;
        storable(&parts.service, SERVICE_BYTES_MAX).map_err(malformed("source"))?;
        detail(&parts.detail).map_err(malformed("detail"))?;
        Ok(Self {
            id: parts.id,
            occurred_at: instant(parts.occurred_at_ms).map_err(malformed("timestamp"))?,
            trace_id: trace_id(parts.trace_id).map_err(malformed("trace_id"))?,
            actor: parts.actor,
            action: parts.action,
            resource: parts.resource,
            outcome: parts.outcome,
            service: parts.service,
            detail: parts.detail,
        })
    }
}

fn storable(text: &str, bytes_max: usize) -> Result<(), &'static str> {
    match text {
        "" => Err("is empty"),
        _ if text.len() > bytes_max => Err("is too long"),
        _ if text.contains('\0') => Err("holds a NUL"),
        _ => Ok(()),
    }
}

fn detail(detail: &BTreeMap<String, String>) -> Result<(), &'static str> {
    let bytes: usize = detail.iter().map(|(key, value)| key.len() + value.len()).sum();
    let nul = detail.iter().any(|(key, value)| key.contains('\0') || value.contains('\0'));
    match (bytes > DETAIL_BYTES_MAX, nul) {
        (true, _) => Err("is too long"),
        (false, true) => Err("holds a NUL"),
        (false, false) => Ok(()),
    }
}

fn instant(milliseconds: i64) -> Result<DateTime<Utc>, &'static str> {
    if !(0..=OCCURRED_AT_MS_MAX).contains(&milliseconds) {
        return Err("is outside the years 1970 to 9999");
    }
    DateTime::from_timestamp_millis(milliseconds).ok_or("is no instant")
}

/// Lower case, as searches ask for it.
fn trace_id(text: Option<String>) -> Result<Option<String>, &'static str> {
    match text {
        None => Ok(None),
        Some(text) if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Ok(Some(text.to_ascii_lowercase()))
        }
        Some(_) => Err("is not 32 hexadecimal digits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> RecordParts {
        RecordParts {
            id: Uuid::nil(),
            actor: "ann".into(),
            action: "order.place".into(),
            resource: "order/1".into(),
            outcome: Outcome::Done,
            service: "order".into(),
            trace_id: Some("0AF7651916CD43DD8448EB211C80319C".into()),
            occurred_at_ms: 1_700_000_000_123,
            detail: BTreeMap::from([("total_minor".into(), "2500".into())]),
        }
    }

    #[test]
    fn a_good_record_keeps_its_parts_and_its_trace_id_becomes_lower_case() {
        let record = AuditRecord::parse(parts()).unwrap();
        assert_eq!(record.occurred_at.timestamp_millis(), 1_700_000_000_123);
        assert_eq!(record.trace_id.as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
    }

    #[test]
    fn what_the_store_could_not_hold_is_refused_by_name() {
        type Change = fn(&mut RecordParts);
        let cases: [(&str, Change); 12] = [
            ("actor", |parts| parts.actor.clear()),
            ("actor", |parts| parts.actor = "a\0b".into()),
            ("actor", |parts| parts.actor = "a".repeat(ACTOR_BYTES_MAX + 1)),
            ("action", |parts| parts.action = "\0".into()),
            ("resource", |parts| parts.resource = "é".repeat(RESOURCE_BYTES_MAX / 2 + 1)),
            ("source", |parts| parts.service.clear()),
            ("detail", |parts| drop(parts.detail.insert("a\0".into(), String::new()))),
            ("detail", |parts| drop(parts.detail.insert(String::new(), "x".repeat(20_000)))),
            ("timestamp", |parts| parts.occurred_at_ms = -1),
            ("timestamp", |parts| parts.occurred_at_ms = i64::MAX),
            ("trace_id", |parts| parts.trace_id = Some("none".into())),
            ("trace_id", |parts| parts.trace_id = Some(String::new())),
        ];
        for (field, change) in cases {
            let mut changed = parts();
            change(&mut changed);
            let refused = AuditRecord::parse(changed).expect_err(field);
            assert_eq!(refused.field, field);
        }
    }
}
