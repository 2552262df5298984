//! What the query API takes and gives.

use millrace_common::http::search::{PageLimit, SearchInstant, SearchText, SearchTraceId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::{
    ACTION_BYTES_MAX, ACTOR_BYTES_MAX, Outcome, RESOURCE_BYTES_MAX, RecordFilter, SERVICE_BYTES_MAX,
};
use crate::store::RecordRow;

/// The query string: filters that must all hold, and the page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchQuery {
    /// Who did it, exactly.
    #[param(value_type = Option<String>, min_length = 1, max_length = 512)]
    actor: Option<SearchText<ACTOR_BYTES_MAX>>,
    /// What was done, or how its name begins: `order.` finds `order.place`. No character is a wildcard.
    #[param(value_type = Option<String>, min_length = 1, max_length = 128)]
    action: Option<SearchText<ACTION_BYTES_MAX>>,
    /// On what, exactly: `order/0192...`.
    #[param(value_type = Option<String>, min_length = 1, max_length = 1024)]
    resource: Option<SearchText<RESOURCE_BYTES_MAX>>,
    /// How it ended.
    outcome: Option<OutcomeDto>,
    /// The service that recorded it, exactly.
    #[param(value_type = Option<String>, min_length = 1, max_length = 128)]
    service: Option<SearchText<SERVICE_BYTES_MAX>>,
    /// The trace it happened in, 32 hexadecimal digits.
    #[param(value_type = Option<String>, pattern = "^[0-9a-fA-F]{32}$")]
    trace_id: Option<SearchTraceId>,
    /// From this instant on; RFC 3339 or milliseconds since 1970-01-01 UTC.
    #[param(value_type = Option<String>, example = "2026-01-31T12:00:00Z")]
    from: Option<SearchInstant>,
    /// Before this instant; RFC 3339 or milliseconds since 1970-01-01 UTC.
    #[param(value_type = Option<String>, example = "1769860800000")]
    to: Option<SearchInstant>,
    /// Most records of the page.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: PageLimit<100, 1000>,
    /// `next_cursor` of the page before, with the same filters.
    #[param(value_type = Option<String>)]
    cursor: Option<String>,
}

/// How an audited step ended.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutcomeDto {
    /// It was done.
    Done,
    /// The business said no.
    Refused,
}

/// The filters as a cursor is bound to them; the page's size may change from page to page.
#[derive(Debug, Serialize)]
pub(crate) struct FilterBinding {
    actor: Option<SearchText<ACTOR_BYTES_MAX>>,
    action: Option<SearchText<ACTION_BYTES_MAX>>,
    resource: Option<SearchText<RESOURCE_BYTES_MAX>>,
    outcome: Option<OutcomeDto>,
    service: Option<SearchText<SERVICE_BYTES_MAX>>,
    trace_id: Option<SearchTraceId>,
    from: Option<SearchInstant>,
    to: Option<SearchInstant>,
}

impl SearchQuery {
    /// The filters, the page's size and its cursor.
    pub(crate) fn split(self) -> (FilterBinding, u16, Option<String>) {
        let binding = FilterBinding {
            actor: self.actor,
            action: self.action,
            resource: self.resource,
            outcome: self.outcome,
            service: self.service,
            trace_id: self.trace_id,
            from: self.from,
            to: self.to,
        };
        (binding, self.limit.get(), self.cursor)
    }
}

impl FilterBinding {
    /// False for a range of time that ends before it begins.
    pub(crate) fn ordered(&self) -> bool {
        self.from.zip(self.to).is_none_or(|(from, to)| from <= to)
    }

    /// The filters as the domain knows them.
    pub(crate) fn filter(&self) -> RecordFilter {
        RecordFilter {
            actor: self.actor.as_ref().map(|text| text.as_str().to_owned()),
            action_prefix: self.action.as_ref().map(|text| text.as_str().to_owned()),
            resource: self.resource.as_ref().map(|text| text.as_str().to_owned()),
            outcome: self.outcome.map(|outcome| match outcome {
                OutcomeDto::Done => Outcome::Done,
                OutcomeDto::Refused => Outcome::Refused,
            }),
            service: self.service.as_ref().map(|text| text.as_str().to_owned()),
            trace_id: self.trace_id.as_ref().map(|text| text.as_str().to_owned()),
            from: self.from.map(SearchInstant::get),
            to: self.to.map(SearchInstant::get),
        }
    }
}

/// One page of the trail, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordPage {
    /// The records.
    pub(crate) records: Vec<RecordDto>,
    /// Where the next page begins; null on the last one.
    pub(crate) next_cursor: Option<String>,
}

/// One record of the trail.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordDto {
    /// The record's own id.
    id: uuid::Uuid,
    /// Who: a caller's subject, or `service:<name>`.
    actor: String,
    /// What, e.g. `order.place`.
    action: String,
    /// On what: `<kind>/<id>`.
    resource: String,
    /// How it ended: `done` or `refused`.
    outcome: String,
    /// The service that recorded it.
    service: String,
    /// The trace it happened in.
    trace_id: Option<String>,
    /// When it happened, milliseconds since 1970-01-01 UTC.
    occurred_at: i64,
    /// When it was stored here, milliseconds since 1970-01-01 UTC.
    recorded_at: i64,
    /// What else there is to know.
    #[schema(value_type = std::collections::BTreeMap<String, String>)]
    detail: serde_json::Value,
}

impl From<RecordRow> for RecordDto {
    fn from(row: RecordRow) -> Self {
        Self {
            id: row.id,
            actor: row.actor,
            action: row.action,
            resource: row.resource,
            outcome: row.outcome,
            service: row.service,
            trace_id: row.trace_id,
            occurred_at: row.occurred_at.timestamp_millis(),
            recorded_at: row.recorded_at.timestamp_millis(),
            detail: row.detail,
        }
    }
}
