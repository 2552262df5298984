//! Forgets messages handled long ago and replies that have expired, in short statements. When, says whoever calls it: the
//! services' task `upkeep`, each hour.
//!
//! Every instance may do it: two that meet delete different rows or wait for each other briefly, and there is
//! nothing to do twice.

use sqlx::PgPool;

use crate::{INBOX_WINDOW, StoreError, idempotency, inbox_clean};

/// Rows a statement deletes at most: it holds their locks for some milliseconds.
const ROWS_MAX: u32 = 1000;

/// Deletes everything that is due now.
///
/// # Errors
/// When the database fails; what was deleted stays deleted, the next run does the rest.
pub async fn clean(pool: &PgPool) -> Result<(), StoreError> {
    let full = u64::from(ROWS_MAX);
    let mut conn = pool.acquire().await?;
    while inbox_clean(&mut conn, INBOX_WINDOW, ROWS_MAX).await? == full {}
    while idempotency::clean(&mut conn, ROWS_MAX).await? == full {}
    Ok(())
}
