//! Forgets occurrences that ended long ago, in short statements; itself the work of a task.

use std::time::Duration;

use millrace_outbox::StoreError;
use sqlx::PgPool;

use crate::store::history;

/// Rows a statement deletes at most: it holds their locks for some milliseconds.
const ROWS_MAX: u32 = 1000;

/// Deletes everything that ended longer than `retention` ago, or longer than its own task says where that is shorter;
/// answers how many occurrences that were.
///
/// # Errors
/// When the database fails; what was deleted stays deleted, the next run does the rest.
pub async fn clean(pool: &PgPool, retention: Duration) -> Result<u64, StoreError> {
    let mut conn = pool.acquire().await?;
    let mut deleted = 0;
    for (task, kept_ms) in history::retentions(&mut conn).await? {
        let kept = Duration::from_millis(u64::try_from(kept_ms).unwrap_or(u64::MAX));
        loop {
            let rows = history::clean_task(&mut conn, &task, kept, ROWS_MAX).await?;
            deleted += rows;
            if rows < u64::from(ROWS_MAX) {
                break;
            }
        }
    }
    loop {
        let rows = history::clean(&mut conn, retention, ROWS_MAX).await?;
        deleted += rows;
        if rows < u64::from(ROWS_MAX) {
            return Ok(deleted);
        }
    }
}
