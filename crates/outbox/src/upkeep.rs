//! Forgets messages handled long ago and replies that have expired, in short statements.
//!
//! Every instance may do it: two that meet delete different rows or wait for each other briefly, and there is
//! nothing to do twice.

use std::time::Duration;

use millrace_runtime::CancellationToken;
use millrace_telemetry::error_chain;
use sqlx::PgPool;

use crate::{INBOX_WINDOW, StoreError, idempotency, inbox_clean};

/// What is forgotten has been kept for a day at least; an hour more is nothing.
const INTERVAL: Duration = Duration::from_secs(60 * 60);
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

/// Cleans each hour until `stop`.
pub async fn run(pool: PgPool, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_some() {
        if let Err(failure) = clean(&pool).await {
            tracing::warn!(
                error = error_chain(&failure),
                "handled messages and old replies were not cleaned, the next run tries again"
            );
        }
    }
}
