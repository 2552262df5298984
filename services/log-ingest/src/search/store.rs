//! The statement of a search.
//!
//! It has exactly the conditions that were asked for, each with a bound value: one text for all combinations
//! (`$1 is null or ...`) would get one plan for all, and no index. The order is that of the primary key, so a page
//! is read from the newest partition backwards and stops when it is full.

use chrono::{DateTime, Utc};
use millrace_common::http::search::{Page, Position};
use millrace_common::outbox::StoreError;
use millrace_common::telemetry::db_span;
use sqlx::{PgPool, Postgres, QueryBuilder};
use tracing::Instrument as _;
use uuid::Uuid;

use super::LineFilter;
use crate::pipeline::line::Level;

/// A line as it lies in the table.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct LineRow {
    pub(crate) id: Uuid,
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) service: String,
    pub(crate) level: String,
    pub(crate) method: String,
    pub(crate) route: String,
    pub(crate) status: i32,
    pub(crate) latency_us: i64,
    pub(crate) trace_id: Option<String>,
    pub(crate) caller: Option<String>,
}

/// The page of at most `limit` lines that pass the filter and come after `after`.
pub(crate) async fn search_lines(
    pool: &PgPool,
    filter: &LineFilter,
    after: Option<Position>,
    limit: u16,
) -> Result<Page<LineRow>, StoreError> {
    let lines: Vec<LineRow> = search_statement("", filter, after, i64::from(limit) + 1)
        .build_query_as()
        .fetch_all(pool)
        .instrument(db_span("SELECT", "request_logs"))
        .await?;
    Ok(Page::cut(lines, limit, |line| Position { at: line.occurred_at, id: line.id }))
}

/// The statement; `before` goes in front of it (a test explains it).
pub(super) fn search_statement(
    before: &'static str,
    filter: &LineFilter,
    after: Option<Position>,
    rows: i64,
) -> QueryBuilder<Postgres> {
    let mut statement = QueryBuilder::new(before);
    statement.push(
        "select id, occurred_at, service, level, method, route, status, latency_us, trace_id, caller
         from request_logs where true",
    );
    let equalities = [
        (" and service = ", filter.service.as_deref()),
        (" and trace_id = ", filter.trace_id.as_deref()),
        (" and level = ", filter.level.map(Level::as_str)),
    ];
    for (condition, value) in equalities {
        if let Some(value) = value {
            statement.push(condition).push_bind(value.to_owned());
        }
    }
    if let Some(status) = filter.status {
        statement.push(" and status between ").push_bind(i32::from(status.first));
        statement.push(" and ").push_bind(i32::from(status.last));
    }
    if let Some(from) = filter.from {
        statement.push(" and occurred_at >= ").push_bind(from);
    }
    if let Some(to) = filter.to {
        statement.push(" and occurred_at < ").push_bind(to);
    }
    if let Some(after) = after {
        statement.push(" and (occurred_at, id) < (").push_bind(after.at);
        statement.push(", ").push_bind(after.id).push(")");
        // Rows are compared as a whole, which prunes no partition; this does.
        statement.push(" and occurred_at <= ").push_bind(after.at);
    }
    statement.push(" order by occurred_at desc, id desc limit ").push_bind(rows);
    statement
}
