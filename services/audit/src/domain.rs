//! What an audit record is, and what can be asked of the trail. Pure.

mod record;
mod search;

pub(crate) use record::{
    ACTION_BYTES_MAX, ACTOR_BYTES_MAX, AuditRecord, Malformed, Outcome, RESOURCE_BYTES_MAX,
    RecordParts, SERVICE_BYTES_MAX,
};
pub(crate) use search::RecordFilter;
