//! Spans whose names and fields follow OpenTelemetry's semantic conventions.

use tracing::Span;

/// The client span around one SQL statement: `INSERT orders`.
///
/// Its status becomes an error when an ERROR event is logged inside; a statement that fails and is retried is
/// not an error by itself, so the store doesn't set it.
#[must_use]
pub fn db_span(operation: &'static str, table: &'static str) -> Span {
    tracing::info_span!(
        "db",
        otel.name = format_args!("{operation} {table}"),
        otel.kind = "client",
        db.system.name = "postgresql",
        db.operation.name = operation,
        db.collection.name = table,
    )
}
