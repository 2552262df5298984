//! What a service's leases are, for operators: what Redis says of each, and what the sink has seen.
//!
//! The names are those that this process asked for and those that a sink knows. Each side may be away; the list then
//! says so and shows the other one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;

use millrace_telemetry::{db_span, error_chain};
use tracing::Instrument as _;

use super::keys::Keys;
use super::{LeaseError, Leases};
use crate::{FencingToken, scripts};

/// All leases of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseList {
    /// Redis answered; if not, nothing is known of holders and waiters.
    pub redis: bool,
    /// The database answered; if not, nothing is known of the sinks.
    pub database: bool,
    /// One a name, by name.
    pub leases: Vec<LeaseStatus>,
}

/// One lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseStatus {
    /// The lease's name.
    pub name: String,
    /// Who has it; `None` when it is free, or Redis is away.
    pub held: Option<HeldStatus>,
    /// How many attempts stand in its queue; 0 when Redis is away.
    pub waiters: usize,
    /// What its sink has seen; `None` when nothing was written under it yet, or the database is away.
    pub sink: Option<SinkStatus>,
}

/// Who has a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldStatus {
    /// Who.
    pub holder: String,
    /// The token it was given.
    pub token: FencingToken,
    /// How long ago, by Redis' clock.
    pub age: Duration,
    /// How long until it ends, unless it is renewed.
    pub remaining: Duration,
}

/// The highest token that a lease's sink has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkStatus {
    /// The token.
    pub token: FencingToken,
    /// Who brought it.
    pub holder: String,
}

impl Leases {
    /// Looks at all leases of this service. Never fails: see [`LeaseList`].
    pub async fn list(&self) -> LeaseList {
        let sinks = self.sinks().await;
        let database = sinks.is_ok();
        let mut sinks = sinks.unwrap_or_else(|error| {
            tracing::warn!(error = error_chain(&error), "leases are listed without their sinks");
            BTreeMap::new()
        });
        let asked_for = self.0.names.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut names: BTreeSet<String> = asked_for.into_iter().map(str::to_owned).collect();
        names.extend(sinks.keys().cloned());
        let mut redis = true;
        let mut leases = Vec::with_capacity(names.len());
        for name in names {
            // Once it hasn't answered it isn't asked again: each question may take a whole timeout.
            let (held, waiters) =
                if redis { self.seen_by_redis(&name).await } else { Ok((None, 0)) }.unwrap_or_else(
                    |error| {
                        let error = error_chain(&error);
                        tracing::warn!(error, "leases are listed without what Redis knows");
                        redis = false;
                        (None, 0)
                    },
                );
            let sink = sinks.remove(&name);
            leases.push(LeaseStatus { name, held, waiters, sink });
        }
        if leases.is_empty() {
            redis = crate::RedisHealth::ask(&self.0.redis).await.up;
        }
        LeaseList { redis, database, leases }
    }

    async fn seen_by_redis(&self, name: &str) -> Result<(Option<HeldStatus>, usize), LeaseError> {
        let Keys { lease, queue, .. } = self.keys(name);
        let nothing: Vec<&str> = Vec::new();
        let (value, remaining_ms, now_ms, waiters): (String, u64, u64, usize) =
            self.0.redis.script("look", &scripts::LOOK, &[&lease, &queue], &nothing).await?;
        let remaining = Duration::from_millis(remaining_ms);
        Ok((held(&value, now_ms, remaining), waiters))
    }

    async fn sinks(&self) -> Result<BTreeMap<String, SinkStatus>, sqlx::Error> {
        let rows: Vec<(String, i64, String)> =
            sqlx::query_as("select name, fence, holder from lease_fence")
                .fetch_all(&self.0.database)
                .instrument(db_span("SELECT", "lease_fence"))
                .await?;
        let status = |(name, fence, holder)| {
            (name, SinkStatus { token: FencingToken::from_i64(fence), holder })
        };
        Ok(rows.into_iter().map(status).collect())
    }
}

/// Reads `incarnation:counter:since:holder/attempt`; a holder's name may contain both signs.
fn held(value: &str, now_ms: u64, remaining: Duration) -> Option<HeldStatus> {
    let mut parts = value.splitn(4, ':');
    let incarnation: u32 = parts.next()?.parse().ok()?;
    let counter: u32 = parts.next()?.parse().ok()?;
    let since_ms: u64 = parts.next()?.parse().ok()?;
    let (holder, _) = parts.next()?.rsplit_once('/')?;
    Some(HeldStatus {
        holder: holder.to_owned(),
        token: FencingToken::new(incarnation, counter),
        age: Duration::from_millis(now_ms.saturating_sub(since_ms)),
        remaining,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leases_value_is_read_whatever_the_holders_name_contains() {
        let remaining = Duration::from_secs(3);
        let status = held("2:7:1000:order-a:b/c/19", 1500, remaining).unwrap();
        assert_eq!(status.holder, "order-a:b/c");
        assert_eq!(status.token, FencingToken::new(2, 7));
        assert_eq!(status.age, Duration::from_millis(500));
        assert_eq!(held("2:7:1000:order/1", 900, remaining).unwrap().age, Duration::ZERO);
        for foreign in ["", "free", "1:2:3", "1:2:x:y/1", "1:2:3:y"] {
            assert_eq!(held(foreign, 0, remaining), None, "{foreign}");
        }
    }
}
