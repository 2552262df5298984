//! Reading the trail, newest first.
//!
//! The statement has exactly the conditions that were asked for, each with a bound value: one text for all
//! combinations (`$1 is null or ...`) would get one plan for all, and no index. A prefix is a range of the
//! byte-wise ordered column rather than a pattern, so no character of it has a meaning of its own.

use chrono::{DateTime, Utc};
use millrace_common::http::search::Position;
use millrace_common::telemetry::db_span;
use sqlx::types::JsonValue;
use sqlx::{PgPool, Postgres, QueryBuilder};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::domain::{Outcome, RecordFilter};

/// A record as it lies in the table.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct RecordRow {
    pub(crate) id: Uuid,
    pub(crate) actor: String,
    pub(crate) action: String,
    pub(crate) resource: String,
    pub(crate) outcome: String,
    pub(crate) service: String,
    pub(crate) trace_id: Option<String>,
    pub(crate) occurred_at: DateTime<Utc>,
    pub(crate) detail: JsonValue,
    pub(crate) recorded_at: DateTime<Utc>,
}

impl RecordRow {
    /// Where it stands in the order of the pages.
    pub(crate) fn position(&self) -> Position {
        Position { at: self.occurred_at, id: self.id }
    }
}

/// The newest `rows` records that pass the filter and come after `after`.
pub(crate) async fn records_search(
    pool: &PgPool,
    filter: &RecordFilter,
    after: Option<Position>,
    rows: i64,
) -> Result<Vec<RecordRow>, sqlx::Error> {
    search_statement("", filter, after, rows)
        .build_query_as()
        .fetch_all(pool)
        .instrument(db_span("SELECT", "audit_records"))
        .await
}

/// The statement; `before` goes in front of it (a test explains it).
pub(super) fn search_statement(
    before: &'static str,
    filter: &RecordFilter,
    after: Option<Position>,
    rows: i64,
) -> QueryBuilder<Postgres> {
    let mut statement = QueryBuilder::new(before);
    statement.push(
        "select id, actor, action, resource, outcome, service, trace_id, occurred_at, detail, recorded_at
         from audit_records where true",
    );
    let equalities = [
        (" and actor = ", filter.actor.as_deref()),
        (" and resource = ", filter.resource.as_deref()),
        (" and outcome = ", filter.outcome.map(Outcome::as_str)),
        (" and service = ", filter.service.as_deref()),
        (" and trace_id = ", filter.trace_id.as_deref()),
    ];
    for (condition, value) in equalities {
        if let Some(value) = value {
            statement.push(condition).push_bind(value.to_owned());
        }
    }
    if let Some(prefix) = &filter.action_prefix {
        statement.push(" and action >= ").push_bind(prefix.clone());
        if let Some(end) = prefix_end(prefix) {
            statement.push(" and action < ").push_bind(end);
        }
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
    }
    statement.push(" order by occurred_at desc, id desc limit ").push_bind(rows);
    statement
}

/// The first text that sorts behind everything that begins with `prefix`; `None` when nothing does.
/// The bytes of UTF-8 sort as the characters do, so the last character that has a successor is raised.
fn prefix_end(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        let next = match last {
            // The surrogates between the two are no characters.
            '\u{d7ff}' => Some('\u{e000}'),
            _ => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_sorts_right_behind_all_that_begins_with_it() {
        assert_eq!(prefix_end("order.").as_deref(), Some("order/"));
        assert_eq!(prefix_end("a%_\\").as_deref(), Some("a%_]"));
        assert_eq!(prefix_end("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(prefix_end("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(prefix_end("\u{10ffff}"), None);
        for prefix in ["order.", "é", "a\u{10ffff}"] {
            let end = prefix_end(prefix).unwrap();
            assert!(end.as_str() > format!("{prefix}\u{10ffff}").as_str(), "{prefix}");
        }
    }
}
