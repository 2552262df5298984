//! Work under a lease that is renewed, and stopped when the lease can't be.
//!
//! Renewal happens at a third of the time to live, and only while the work gets on: a renewer that is healthy must
//! not hide a worker that is stuck. When Redis says that the lease is someone else's, or says nothing until a tenth
//! of the time before the end, or the work showed no progress for too long, the work is cancelled: before the lease
//! can end, by the monotonic clock. A process that is frozen can't be cancelled; its writes are what the fence refuses.

mod fenced;
mod held;
mod renewal;

use std::sync::Arc;
use std::time::Duration;

use millrace_runtime::{CancellationToken, Tasks};
use tokio::task::JoinHandle;

use crate::{FencingToken, Lease};
use held::Held;

pub use fenced::{Exempt, Fenced, FencedError, FencedTransaction, WritePath};

/// The lease ended before the work did; the work was dropped at an await point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("lease `{lease}` was lost")]
pub struct LeaseLost {
    /// The lease's name.
    pub lease: &'static str,
}

/// A lease that is being renewed. Dropping it ends the renewal and gives the lease back.
#[derive(Debug)]
pub struct LeaseGuard {
    held: Arc<Held>,
    done: CancellationToken,
    renewal: Option<JoinHandle<()>>,
}

impl Lease {
    /// Renews it in a task of its own until the guard is dropped, the lease is lost, or the work shows no progress for
    /// `progress_within` (the time to live, if none is given). Progress is each start of work, each transaction that
    /// begins or commits, and what [`Fenced::progress`] says.
    #[must_use]
    pub fn keep(self, tasks: &Tasks, progress_within: Option<Duration>) -> LeaseGuard {
        let done = CancellationToken::new();
        let name = self.name();
        let held = Arc::new(Held::new(self.leases().clone(), name, self.token()));
        let progress_within = progress_within.unwrap_or(self.ttl());
        let renewal = renewal::run(self, Arc::clone(&held), done.clone(), progress_within);
        let renewal = tasks.spawn(format!("lease-{name}"), renewal);
        LeaseGuard { held, done, renewal: Some(renewal) }
    }
}

impl LeaseGuard {
    /// For logs; writes prove it by [`Fenced::begin`].
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.held.token
    }

    /// Who holds it.
    #[must_use]
    pub fn holder(&self) -> &str {
        self.held.leases.holder()
    }

    /// Cancelled when the lease is lost.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.held.lost.clone()
    }

    /// Runs `work` as long as the lease lasts, and hands it the write path.
    ///
    /// # Errors
    /// When the lease is lost first. What `work` had committed by then stays.
    pub async fn run<T, F>(&self, work: impl FnOnce(Fenced) -> F) -> Result<T, LeaseLost>
    where
        F: Future<Output = T>,
    {
        let lost = || LeaseLost { lease: self.held.name };
        self.held.progress();
        tokio::select! {
            biased;
            () = self.held.lost.cancelled() => Err(lost()),
            output = work(Fenced(Arc::clone(&self.held))) => Ok(output),
        }
    }

    /// Ends the renewal and waits until the lease is given back. After a refusal at a sink it raises the incarnation
    /// first, so that the next holder's token is accepted.
    pub async fn release(mut self) {
        if self.held.must_raise() {
            self.held.leases.raise_or_log(self.held.name).await;
        }
        self.done.cancel();
        if let Some(renewal) = self.renewal.take()
            && let Err(error) = renewal.await
        {
            tracing::warn!(lease = self.held.name, %error, "the renewal of a lease ended badly");
        }
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        if self.held.must_raise() {
            let (leases, name) = (self.held.leases.clone(), self.held.name);
            let raise = async move { leases.raise_or_log(name).await };
            self.held.leases.afterwards("lease-raise", raise);
        }
        self.done.cancel();
    }
}
