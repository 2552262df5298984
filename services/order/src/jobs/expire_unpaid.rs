//! Dispatches the expiry of unpaid orders: one instance at a time under a Redis lease, any instance without Redis.
//!
//! Each interval every instance tries the lease and doesn't wait for it. The holder proves itself at the sink with
//! the lease's fencing token. A refused token means that Redis gave one twice (it was wiped, say): the incarnation is
//! raised and the next interval works again. If Redis is away longer than an interval, orders expire without lease
//! and token: the conditional update decides then as always, the lease only spares the others the look.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millrace_common::coordination::{Exempt, LeaseError, LeaseGuard, Leases, WritePath};
use millrace_common::runtime::Tasks;
use millrace_common::telemetry::error_chain;

use crate::app::expire_unpaid::{Batch, expire_unpaid};
use crate::app::{App, Failure};
use crate::metrics;

pub(crate) const NAME: &str = "expire-unpaid";
/// Longer than a batch takes; it is renewed while there is work and given back right after.
const LEASE_TTL: Duration = Duration::from_secs(30);
const DATABASE_DECIDES: &str =
    "an order is locked while it still waits for payment, and written on condition of its version";

/// The job of one instance. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct ExpireUnpaid(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    app: App,
    leases: Leases,
    tasks: Tasks,
    interval: Duration,
    // A std mutex: it is held for a comparison, never over an await.
    redis: Mutex<RedisState>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RedisState {
    Here,
    AwaySince { since: Instant, without_lease: bool },
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Leased,
    Unleased,
    /// Another instance has the lease, or Redis has only just gone.
    Idle,
    Fenced,
    Failed,
}

impl ExpireUnpaid {
    pub(crate) fn new(app: App, leases: Leases, tasks: Tasks, interval: Duration) -> Self {
        let redis = Mutex::new(RedisState::Here);
        Self(Arc::new(Shared { app, leases, tasks, interval, redis }))
    }

    /// One run. It reports to log and metrics only: the next run is the retry.
    #[tracing::instrument(name = "job expire-unpaid", skip_all)]
    pub(crate) async fn run(&self) {
        let outcome = match self.0.leases.acquire(NAME, LEASE_TTL).await {
            Ok(lease) => {
                self.redis_answered();
                match lease {
                    Some(lease) => self.run_leased(lease.keep(&self.0.tasks, None)).await,
                    None => Outcome::Idle,
                }
            }
            Err(error) => self.run_without(&error).await,
        };
        metrics::expiry_run(outcome.as_str());
    }

    async fn run_leased(&self, guard: LeaseGuard) -> Outcome {
        let run = guard.run(|fenced| self.expire_all(WritePath::Fenced(fenced)));
        let outcome = match run.await {
            Ok(outcome) => outcome,
            Err(lost) => {
                tracing::warn!(error = %lost, "expiry was cut short, the next run goes on");
                Outcome::Failed
            }
        };
        guard.release().await;
        outcome
    }

    async fn run_without(&self, error: &LeaseError) -> Outcome {
        match error {
            LeaseError::Redis(_) if self.may_go_without(error) => {
                let path = WritePath::Exempt(Exempt::new(NAME, DATABASE_DECIDES));
                match self.expire_all(path).await {
                    Outcome::Leased => Outcome::Unleased,
                    other @ (Outcome::Unleased
                    | Outcome::Idle
                    | Outcome::Fenced
                    | Outcome::Failed) => other,
                }
            }
            LeaseError::Redis(_) => Outcome::Idle,
            LeaseError::Incarnation { .. }
            | LeaseError::Outbid { .. }
            | LeaseError::QueueFull { .. } => {
                tracing::warn!(
                    error = error_chain(error),
                    "no lease for the expiry, the next run tries again"
                );
                Outcome::Failed
            }
        }
    }

    /// Batch after batch until there is none.
    async fn expire_all(&self, path: WritePath) -> Outcome {
        let mut total = 0;
        loop {
            match expire_unpaid(&self.0.app, &path).await {
                Ok(Batch::Expired { orders, full }) => {
                    total += orders;
                    if !full {
                        break;
                    }
                }
                Ok(Batch::Fenced) => return Outcome::Fenced,
                Err(failure) => {
                    log_failure(&failure);
                    return Outcome::Failed;
                }
            }
        }
        if total > 0 {
            tracing::info!(
                orders = total,
                leased = matches!(path, WritePath::Fenced(_)),
                "{total} unpaid orders expired"
            );
        }
        Outcome::Leased
    }

    fn redis_answered(&self) {
        let before = self.set_redis(|_| RedisState::Here);
        if matches!(before, RedisState::AwaySince { without_lease: true, .. }) {
            tracing::info!("Redis is back, orders expire under the lease again");
            metrics::expiry_without_lease(false);
        }
    }

    /// True once Redis has been away longer than an interval; said once in the log.
    fn may_go_without(&self, error: &LeaseError) -> bool {
        let now = self.0.app.clock().monotonic();
        let interval = self.0.interval;
        let mut goes_without = false;
        let before = self.set_redis(|state| match state {
            RedisState::Here => RedisState::AwaySince { since: now, without_lease: false },
            RedisState::AwaySince { since, without_lease } => {
                goes_without = without_lease || now.saturating_duration_since(since) >= interval;
                RedisState::AwaySince { since, without_lease: goes_without }
            }
        });
        match before {
            RedisState::Here => {
                tracing::warn!(
                    error = error_chain(error),
                    "Redis doesn't answer, this expiry run is left out"
                );
            }
            RedisState::AwaySince { without_lease: false, .. } if goes_without => {
                tracing::warn!(
                    error = error_chain(error),
                    "Redis stays away, orders expire without a lease"
                );
                metrics::expiry_without_lease(true);
            }
            RedisState::AwaySince { .. } => {}
        }
        goes_without
    }

    /// Changes the state and returns the one before.
    fn set_redis(&self, change: impl FnOnce(RedisState) -> RedisState) -> RedisState {
        let mut state = self.0.redis.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *state;
        *state = change(before);
        before
    }
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Leased => "leased",
            Self::Unleased => "unleased",
            Self::Idle => "idle",
            Self::Fenced => "fenced",
            Self::Failed => "failed",
        }
    }
}

fn log_failure(failure: &Failure) {
    use millrace_common::resilience::{Class, Classify};
    match failure.class() {
        Class::Transient => {
            tracing::warn!(
                error = error_chain(failure),
                "expiry failed for now, the next run goes on"
            );
        }
        Class::Permanent => tracing::error!(error = error_chain(failure), "expiry failed"),
    }
}
