//! Adds records to the trail, each once.

use millrace_common::outbox::StoreError;
use sqlx::PgPool;

use crate::domain::AuditRecord;
use crate::store;

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    /// Records that were new.
    pub(crate) stored: u64,
    /// Records that were there already, or twice in the batch.
    pub(crate) repeated: u64,
}

/// Appends the records. The unique id is the only inbox this needs: the row is the effect and its own receipt.
pub(crate) async fn append_records(
    pool: &PgPool,
    records: &[AuditRecord],
) -> Result<Appended, StoreError> {
    let stored = store::records_append(pool, records).await?;
    let repeated = (records.len() as u64).saturating_sub(stored);
    Ok(Appended { stored, repeated })
}
