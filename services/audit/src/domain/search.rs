//! What can be asked of the trail: filters that all must hold.

use chrono::{DateTime, Utc};

use super::Outcome;

/// Filters; those that are given must all hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct RecordFilter {
    pub(crate) actor: Option<String>,
    /// The action, or how it begins: `order.` finds `order.place` and `order.cancel`.
    pub(crate) action_prefix: Option<String>,
    pub(crate) resource: Option<String>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) service: Option<String>,
    pub(crate) trace_id: Option<String>,
    /// From this instant on.
    pub(crate) from: Option<DateTime<Utc>>,
    /// Before this instant.
    pub(crate) to: Option<DateTime<Utc>>,
}
