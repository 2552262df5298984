//! What the search API takes and gives.

use millrace_common::http::search::{PageLimit, SearchInstant, SearchText, SearchTraceId};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::pipeline::line::{Level, SERVICE_BYTES_MAX};
use crate::search::{LineFilter, LineRow, StatusRange};

/// The query string: filters that must all hold, and the page.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchQuery {
    /// The service that answered, exactly.
    #[param(value_type = Option<String>, min_length = 1, max_length = 128)]
    service: Option<SearchText<SERVICE_BYTES_MAX>>,
    /// The trace, 32 hexadecimal digits.
    #[param(value_type = Option<String>, pattern = "^[0-9a-fA-F]{32}$")]
    trace_id: Option<SearchTraceId>,
    /// `INFO`, `WARN` (4xx) or `ERROR` (5xx).
    level: Option<LevelDto>,
    /// One status (`404`) or a class (`5xx`).
    #[param(value_type = Option<String>, pattern = "^[1-5]([0-9][0-9]|xx)$", example = "5xx")]
    status: Option<StatusDto>,
    /// From this instant on; RFC 3339 or milliseconds since 1970-01-01 UTC.
    #[param(value_type = Option<String>, example = "2026-01-31T12:00:00Z")]
    from: Option<SearchInstant>,
    /// Before this instant; RFC 3339 or milliseconds since 1970-01-01 UTC.
    #[param(value_type = Option<String>, example = "1769860800000")]
    to: Option<SearchInstant>,
    /// Most lines of the page.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 1000)]
    limit: PageLimit<100, 1000>,
    /// `next_cursor` of the page before, with the same filters.
    #[param(value_type = Option<String>)]
    cursor: Option<String>,
}

/// A log level as it is asked for.
#[derive(Debug, Clone, Copy, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum LevelDto {
    /// All went well.
    Info,
    /// The request was refused.
    Warn,
    /// The service failed.
    Error,
}

/// A status or class as it is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StatusDto(StatusRange);

impl<'de> Deserialize<'de> for StatusDto {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        StatusRange::parse(&text).map(Self).ok_or_else(|| {
            serde::de::Error::custom("must be a status such as 404 or a class such as 5xx")
        })
    }
}

/// The filters as a cursor is bound to them; the page's size may change from page to page.
#[derive(Debug, Serialize)]
pub(crate) struct FilterBinding {
    service: Option<SearchText<SERVICE_BYTES_MAX>>,
    trace_id: Option<SearchTraceId>,
    level: Option<LevelDto>,
    status: Option<(u16, u16)>,
    from: Option<SearchInstant>,
    to: Option<SearchInstant>,
}

impl SearchQuery {
    /// The filters, the page's size and its cursor.
    pub(crate) fn split(self) -> (FilterBinding, u16, Option<String>) {
        let binding = FilterBinding {
            service: self.service,
            trace_id: self.trace_id,
            level: self.level,
            status: self.status.map(|StatusDto(range)| (range.first, range.last)),
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

    /// The filters as the search knows them.
    pub(crate) fn filter(&self) -> LineFilter {
        LineFilter {
            service: self.service.as_ref().map(|text| text.as_str().to_owned()),
            trace_id: self.trace_id.as_ref().map(|text| text.as_str().to_owned()),
            level: self.level.map(|level| match level {
                LevelDto::Info => Level::Info,
                LevelDto::Warn => Level::Warn,
                LevelDto::Error => Level::Error,
            }),
            status: self.status.map(|(first, last)| StatusRange { first, last }),
            from: self.from.map(SearchInstant::get),
            to: self.to.map(SearchInstant::get),
        }
    }
}

/// One page of log lines, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LinePage {
    /// The lines.
    pub(crate) lines: Vec<LineDto>,
    /// Where the next page begins; null on the last one.
    pub(crate) next_cursor: Option<String>,
}

/// One request and its answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LineDto {
    /// The line's own id.
    id: uuid::Uuid,
    /// When it was logged, milliseconds since 1970-01-01 UTC.
    occurred_at: i64,
    /// Who answered.
    service: String,
    /// `INFO`, `WARN` or `ERROR`.
    level: String,
    /// HTTP method.
    method: String,
    /// The route's template.
    route: String,
    /// HTTP status of the answer.
    status: i32,
    /// How long the answer took, microseconds.
    latency_us: i64,
    /// The trace.
    trace_id: Option<String>,
    /// The caller's subject, when known.
    caller: Option<String>,
}

impl From<LineRow> for LineDto {
    fn from(row: LineRow) -> Self {
        Self {
            id: row.id,
            occurred_at: row.occurred_at.timestamp_millis(),
            service: row.service,
            level: row.level,
            method: row.method,
            route: row.route,
            status: row.status,
            latency_us: row.latency_us,
            trace_id: row.trace_id,
            caller: row.caller,
        }
    }
}
