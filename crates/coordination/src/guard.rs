//! Work under a lease that is renewed, and stopped when the lease can't be.
//!
//! Renewal happens at a third of the time to live. When Redis says that the lease is someone else's, or says nothing
//! until a tenth of the time before the end, the work is cancelled: before the lease can end, by the monotonic
//! clock. A process that is frozen can't be cancelled; its writes are what the fence refuses.

use std::time::Duration;

use millrace_runtime::{CancellationToken, Tasks};
use millrace_telemetry::error_chain;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::{FencingToken, Lease, metrics};

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
    name: &'static str,
    token: FencingToken,
    holder: String,
    lost: CancellationToken,
    done: CancellationToken,
    renewal: Option<JoinHandle<()>>,
}

impl Lease {
    /// Renews it in a task of its own until the guard is dropped or the lease is lost.
    #[must_use]
    pub fn keep(self, tasks: &Tasks) -> LeaseGuard {
        let (lost, done) = (CancellationToken::new(), CancellationToken::new());
        let (name, token, holder) = (self.name(), self.token(), self.holder().to_owned());
        let renewal = tasks.spawn(format!("lease-{name}"), renew(self, lost.clone(), done.clone()));
        LeaseGuard { name, token, holder, lost, done, renewal: Some(renewal) }
    }
}

impl LeaseGuard {
    /// What the sinks check.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.token
    }

    /// Who holds it; goes to the sinks beside the token.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Cancelled when the lease is lost.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Runs `work` as long as the lease lasts.
    ///
    /// # Errors
    /// When the lease is lost first. What `work` had committed by then stays.
    pub async fn run<T>(&self, work: impl Future<Output = T>) -> Result<T, LeaseLost> {
        tokio::select! {
            biased;
            () = self.lost.cancelled() => Err(LeaseLost { lease: self.name }),
            output = work => Ok(output),
        }
    }

    /// Ends the renewal and waits until the lease is given back.
    pub async fn release(mut self) {
        self.done.cancel();
        if let Some(renewal) = self.renewal.take()
            && let Err(error) = renewal.await
        {
            tracing::warn!(lease = self.name, %error, "the renewal of a lease ended badly");
        }
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        self.done.cancel();
    }
}

async fn renew(mut lease: Lease, lost: CancellationToken, done: CancellationToken) {
    let name = lease.name();
    let mut next = Instant::now() + lease.ttl() / 3;
    loop {
        let last_moment = lease.ends() - margin(lease.ttl());
        tokio::select! {
            () = done.cancelled() => return lease.release_or_log().await,
            () = sleep_until(next.min(last_moment)) => {}
        }
        match timeout_at(last_moment, lease.renew()).await {
            Ok(Ok(true)) => {
                next = Instant::now() + lease.ttl() / 3;
                continue;
            }
            Ok(Ok(false)) => {
                tracing::warn!(lease = name, token = %lease.token(), "the lease is someone else's");
                break;
            }
            Ok(Err(error)) => {
                tracing::warn!(lease = name, error = %error_chain(&error), "the lease was not renewed");
            }
            Err(_) => tracing::warn!(lease = name, "the renewal of the lease got no answer"),
        }
        metrics::RENEW_FAILURES.with_label_values(&[name]).inc();
        if Instant::now() >= last_moment {
            break;
        }
        next = Instant::now() + margin(lease.ttl());
    }
    metrics::LOST.with_label_values(&[name]).inc();
    lost.cancel();
}

/// How long before its possible end a lease counts as lost.
fn margin(ttl: Duration) -> Duration {
    ttl / 10
}
