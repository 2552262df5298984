//! Finds records, a page at a time.

use millrace_common::http::search::{Page, Position};
use millrace_common::outbox::StoreError;
use sqlx::PgPool;

use crate::domain::RecordFilter;
use crate::store::{self, RecordRow};

/// The page of at most `limit` records behind `after`.
pub(crate) async fn search_records(
    pool: &PgPool,
    filter: &RecordFilter,
    after: Option<Position>,
    limit: u16,
) -> Result<Page<RecordRow>, StoreError> {
    let rows = store::records_search(pool, filter, after, i64::from(limit) + 1).await?;
    Ok(Page::cut(rows, limit, RecordRow::position))
}
