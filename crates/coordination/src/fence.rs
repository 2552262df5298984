//! The proof at the sink. Holding a lease is a hint; this is what keeps a late writer out.
//!
//! The sink accepts a token above all it has seen, and the same one again from the same holder. It refuses a lower
//! one, and an equal one from another holder: two holders with one token mean that Redis gave it twice, so after
//! any refusal the loser raises the incarnation, which the guard does by itself.

use millrace_runtime::sabotage::{self, Switch};
use millrace_telemetry::db_span;
use sqlx::PgConnection;
use tracing::Instrument as _;

use crate::{FencingToken, metrics};

/// True when a write under this token may happen. It belongs into the transaction of the write, before the write: the
/// row stays locked until commit, so a newer holder's transaction and this one can't interleave.
pub(crate) async fn check(
    conn: &mut PgConnection,
    name: &str,
    token: FencingToken,
    holder: &str,
) -> Result<bool, sqlx::Error> {
    if sabotage::on(Switch::LeaseSkipFence) {
        return Ok(true);
    }
    let accepted: Option<bool> = sqlx::query_scalar(
        "insert into lease_fence (name, fence, holder) values ($1, $2, $3) \
         on conflict (name) do update \
             set fence = excluded.fence, holder = excluded.holder, updated_at = now() \
             where lease_fence.fence < excluded.fence \
                 or (lease_fence.fence = excluded.fence and lease_fence.holder = excluded.holder) \
         returning true",
    )
    .bind(name)
    .bind(token.as_i64())
    .bind(holder)
    .fetch_optional(conn)
    .instrument(db_span("INSERT", "lease_fence"))
    .await?;
    if accepted.is_none() {
        metrics::FENCED_OUT.with_label_values(&[name]).inc();
        tracing::warn!(lease = name, %token, holder, "a write under a stale token was refused");
    }
    Ok(accepted.is_some())
}
