//! Who dispatches, and when: one instance under a lease, or any of them without Redis, if the settings say so.
//!
//! An instance that doesn't dispatch waits in the lease's queue and holds nothing else. The one that does looks at what
//! is due, sleeps until something is due again (a second at most), and is woken by changes in its own process. The
//! lease only keeps instances from getting in each other's way. What makes an occurrence one is its key in the
//! database, and what keeps a late holder out is the token that each look proves in its transaction.

mod health;
mod redis;

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_coordination::{Exempt, FencedError, Lease, LeaseError, Leases, WritePath};
use millrace_outbox::RelayWaker;
use millrace_resilience::{Class, Classify};
use millrace_runtime::sabotage::{CrashPoint, crash_point};
use millrace_runtime::{CancellationToken, Tasks};
use millrace_telemetry::error_chain;
use sqlx::PgPool;
use tokio::sync::Notify;

pub use health::{DispatcherHealth, DispatcherStatus, Role};
use redis::{Patience, RedisWatch};

use crate::calendar::Expressions;
use crate::metrics;
use crate::pass::{Looked, Pass, PassError};
use crate::settings::{SchedulerSettings, WithoutRedis};
use crate::store::due;

/// The dispatcher's lease.
pub const LEASE: &str = "dispatch-tasks";

/// The longest sleep: what another process has changed is seen after it at the latest.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// The shortest sleep after a look that found nothing to take up.
const LOCKED_RETRY: Duration = Duration::from_millis(20);
/// How long one wait in the lease's queue lasts.
const QUEUE_WAIT: Duration = Duration::from_secs(30);
/// How often open occurrences are counted.
const MEASURE_INTERVAL: Duration = Duration::from_secs(10);

/// Wakes the dispatcher of this process. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct ScheduleWaker(Arc<Notify>);

impl ScheduleWaker {
    /// A task may be due. Cheap, never waits; any number of calls before the next look are one.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// What a dispatcher works with.
#[derive(Debug, Clone)]
pub struct DispatcherParts {
    /// The service whose tasks these are; workers of other services leave them alone.
    pub service: String,
    /// The service's database.
    pub pool: PgPool,
    /// The service's leases.
    pub leases: Leases,
    /// For the renewal of the lease.
    pub tasks: Tasks,
    /// Told after each commit.
    pub relay: RelayWaker,
    /// The section `[scheduler]`.
    pub settings: SchedulerSettings,
}

/// Why a look was not made or had no effect.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// No lease could be asked for.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// No transaction was begun.
    #[error(transparent)]
    Begin(#[from] FencedError),
    /// The look failed.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// The lease ended before the work did.
    #[error("the dispatcher's lease was lost")]
    Lost,
}

impl Classify for DispatchError {
    fn class(&self) -> Class {
        match self {
            Self::Lease(error) => error.class(),
            Self::Begin(error) => error.class(),
            Self::Pass(error) => error.class(),
            Self::Lost => Class::Transient,
        }
    }
}

/// Dispatches what is due. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    parts: Arc<DispatcherParts>,
    pass: Pass,
    waker: ScheduleWaker,
    health: DispatcherHealth,
}

impl Dispatcher {
    /// A dispatcher; it does nothing yet.
    #[must_use]
    pub fn new(parts: DispatcherParts) -> Self {
        let pass = Pass {
            service: parts.service.clone(),
            batch: parts.settings.batch,
            expressions: Expressions::default(),
        };
        Self {
            parts: Arc::new(parts),
            pass,
            waker: ScheduleWaker::default(),
            health: DispatcherHealth::default(),
        }
    }

    /// For whoever changes a task or ends an occurrence.
    #[must_use]
    pub fn waker(&self) -> ScheduleWaker {
        self.waker.clone()
    }

    /// For the health page.
    #[must_use]
    pub fn health(&self) -> DispatcherHealth {
        self.health.clone()
    }

    /// Dispatches until `stop`; then it gives the lease back.
    pub async fn run(self, stop: CancellationToken) {
        let mut redis = RedisWatch::new(self.parts.settings.lease_ttl);
        while !stop.is_cancelled() {
            self.health.role(Role::Standby);
            let ttl = self.parts.settings.lease_ttl;
            let asked = Box::pin(self.parts.leases.acquire_within(LEASE, ttl, QUEUE_WAIT));
            match stop.run_until_cancelled(asked).await {
                None => break,
                Some(Ok(Some(lease))) => {
                    redis.answered();
                    if self.lead(lease, &stop).await.is_err() {
                        redis.lost();
                    }
                }
                Some(Ok(None)) => redis.answered(),
                Some(Err(LeaseError::Redis(error))) => {
                    self.without_redis(redis.silent(&error), &mut redis, &stop).await;
                }
                Some(Err(error)) => {
                    let error = error_chain(&error);
                    tracing::warn!(error, "the dispatcher got no lease and asks again");
                    self.rest(SLEEP_MAX, &stop).await;
                }
            }
        }
        self.health.role(Role::Standby);
    }

    /// Looks until nothing is due; `None` when another instance dispatches. For tests and tools: a service runs
    /// [`Dispatcher::run`].
    ///
    /// # Errors
    /// When a look fails, or Redis is away and the settings say to wait for it.
    pub async fn dispatch_once(&self) -> Result<Option<usize>, DispatchError> {
        match self.parts.leases.acquire(LEASE, self.parts.settings.lease_ttl).await {
            Ok(None) => Ok(None),
            Ok(Some(lease)) => {
                let guard = lease.keep(&self.parts.tasks, None);
                let work =
                    guard.run(async |fenced| self.look_all(&WritePath::Fenced(fenced)).await);
                let dispatched = work.await.map_err(|_| DispatchError::Lost);
                guard.release().await;
                dispatched?.map(Some)
            }
            Err(LeaseError::Redis(_))
                if self.parts.settings.without_redis == WithoutRedis::Database =>
            {
                self.look_all(&exempt()).await.map(Some)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn look_all(&self, path: &WritePath) -> Result<usize, DispatchError> {
        let mut dispatched = 0;
        loop {
            let looked = self.look(path).await?;
            dispatched += looked.dispatched;
            let more = looked.full || looked.next_look == Some(Duration::ZERO);
            if !more || looked.tasks == 0 {
                return Ok(dispatched);
            }
        }
    }

    /// Dispatches under the lease until it is lost, refused, or `stop`.
    async fn lead(&self, lease: Lease, stop: &CancellationToken) -> Result<(), DispatchError> {
        tracing::info!(token = %lease.token(), "this instance dispatches the scheduled tasks");
        let guard = lease.keep(&self.parts.tasks, None);
        self.health.role(Role::Leading);
        let work = guard.run(async |fenced| self.looks(&WritePath::Fenced(fenced), stop).await);
        let ended = work.await;
        self.health.role(Role::Standby);
        guard.release().await;
        match ended {
            Ok(()) => Ok(()),
            Err(lost) => {
                tracing::warn!(error = %lost, "this instance no longer dispatches");
                Err(DispatchError::Lost)
            }
        }
    }

    /// What the settings say, for as long as Redis is away.
    async fn without_redis(
        &self,
        patience: Patience,
        redis: &mut RedisWatch,
        stop: &CancellationToken,
    ) {
        match (patience, self.parts.settings.without_redis) {
            (Patience::Left, _) => self.rest(SLEEP_MAX, stop).await,
            (Patience::Gone, WithoutRedis::Pause) => {
                redis.say("Redis stays away, no scheduled task is dispatched until it is back");
                self.health.role(Role::WithoutRedis);
                self.rest(SLEEP_MAX, stop).await;
            }
            (Patience::Gone, WithoutRedis::Database) => {
                redis.say("Redis stays away, scheduled tasks are dispatched without a lease");
                self.health.role(Role::Unleased);
                let lease = tokio::select! {
                    lease = Box::pin(self.redis_is_back()) => lease,
                    () = self.unleased(stop) => return,
                };
                redis.answered();
                if let Some(lease) = lease
                    && self.lead(lease, stop).await.is_err()
                {
                    redis.lost();
                }
            }
        }
    }

    async fn unleased(&self, stop: &CancellationToken) {
        let path = exempt();
        while !stop.is_cancelled() {
            self.looks(&path, stop).await;
        }
    }

    /// Ends when Redis gives an answer, with the lease if that is the answer.
    async fn redis_is_back(&self) -> Option<Lease> {
        let ttl = self.parts.settings.lease_ttl;
        loop {
            match self.parts.leases.acquire(LEASE, ttl).await {
                Ok(lease) => return lease,
                Err(LeaseError::Redis(_)) => tokio::time::sleep(SLEEP_MAX).await,
                Err(_) => return None,
            }
        }
    }

    /// Look after look until `stop`, or until the token is refused.
    async fn looks(&self, path: &WritePath, stop: &CancellationToken) {
        let (mut failing, mut measured) = (false, None::<Instant>);
        while !stop.is_cancelled() {
            let pause = match self.look(path).await {
                Ok(looked) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("scheduled tasks are dispatched again");
                    }
                    if looked.full {
                        continue;
                    }
                    // What is due and was not to be had is in somebody else's hands for a moment.
                    let least = if looked.tasks == 0 { LOCKED_RETRY } else { Duration::ZERO };
                    looked.next_look.map_or(SLEEP_MAX, |next| next.clamp(least, SLEEP_MAX))
                }
                Err(DispatchError::Begin(
                    refused @ (FencedError::Refused { .. } | FencedError::Lost { .. }),
                )) => {
                    tracing::warn!(
                        error = error_chain(&refused),
                        "the dispatcher acquires its lease anew"
                    );
                    return;
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        let error = error_chain(&error);
                        tracing::warn!(
                            error,
                            "scheduled tasks were not dispatched, the next look tries again"
                        );
                    }
                    SLEEP_MAX
                }
            };
            if measured.is_none_or(|at| at.elapsed() >= MEASURE_INTERVAL) {
                measured = Some(Instant::now());
                self.measure().await;
            }
            self.rest(pause, stop).await;
        }
    }

    /// One look, in one transaction.
    async fn look(&self, path: &WritePath) -> Result<Looked, DispatchError> {
        let (looked, outcome) = match self.look_in_transaction(path).await {
            Ok(looked) => (
                Ok(looked),
                if matches!(path, WritePath::Fenced(_)) { "leased" } else { "unleased" },
            ),
            Err(error @ DispatchError::Begin(FencedError::Refused { .. })) => {
                (Err(error), "fenced")
            }
            Err(error) => (Err(error), "failed"),
        };
        metrics::PASSES.with_label_values(&[outcome]).inc();
        self.health.looked(looked.is_ok());
        looked
    }

    async fn look_in_transaction(&self, path: &WritePath) -> Result<Looked, DispatchError> {
        let fence = match path {
            WritePath::Fenced(fenced) => Some(fenced.token().as_i64()),
            WritePath::Exempt(_) => None,
        };
        let mut transaction = path.begin(&self.parts.pool).await?;
        let looked = self.pass.look(&mut transaction, fence).await?;
        crash_point(CrashPoint::BeforeStateCommit);
        transaction.commit().await.map_err(PassError::Store)?;
        crash_point(CrashPoint::AfterStateCommit);
        looked.count();
        if looked.dispatched > 0 {
            self.parts.relay.wake();
        }
        Ok(looked)
    }

    async fn measure(&self) {
        let counted = async { due::open_count(&mut *self.parts.pool.acquire().await?).await };
        let counted: Result<i64, sqlx::Error> = counted.await;
        match counted {
            Ok(open) => metrics::OPEN.set(open),
            Err(error) => {
                let error = error_chain(&error);
                tracing::debug!(error, "open occurrences were not counted");
            }
        }
    }

    async fn rest(&self, pause: Duration, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.waker.0.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn exempt() -> WritePath {
    let reason = "the locks of due tasks and the key of their occurrences decide";
    WritePath::Exempt(Exempt::new(LEASE, reason))
}
