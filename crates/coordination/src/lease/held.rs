//! A lease that was acquired: its renewal and its return, which only the acquisition that made it can do.

use std::time::Duration;

use millrace_runtime::sabotage::{self, Switch};
use millrace_telemetry::error_chain;
use redis::cmd;
use tokio::time::Instant;

use super::acquire::{WAITER_TTL, millis};
use super::keys::{Keys, turns_channel};
use super::{LeaseError, Leases};
use crate::{FencingToken, metrics, scripts};

/// A lease that was acquired. It ends by itself; [`Lease::keep`] renews it while work goes on.
#[derive(Debug)]
pub struct Lease {
    leases: Leases,
    name: &'static str,
    /// What Redis wrote for this acquisition and no other.
    value: String,
    token: FencingToken,
    ttl: Duration,
    acquired: Instant,
    ends: Instant,
}

impl Lease {
    pub(super) fn new(
        leases: Leases,
        name: &'static str,
        value: String,
        token: FencingToken,
        ttl: Duration,
        asked: Instant,
    ) -> Self {
        metrics::HELD.with_label_values(&[name]).inc();
        metrics::TOKEN.with_label_values(&[name]).set(token.as_i64());
        Self { leases, name, value, token, ttl, acquired: asked, ends: asked + ttl }
    }

    /// The lease's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What the sinks check.
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.token
    }

    /// Who holds it; goes to the sinks beside the token.
    #[must_use]
    pub fn holder(&self) -> &str {
        self.leases.holder()
    }

    /// How long a renewal lasts.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// The instant by which it may have ended, by this process's monotonic clock.
    #[must_use]
    pub fn ends(&self) -> Instant {
        self.ends
    }

    pub(crate) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Starts its time anew; `false` when it is no longer ours. Only the acquisition that made it can.
    ///
    /// # Errors
    /// When Redis can't be asked; the lease then ends when it would have.
    pub async fn renew(&mut self) -> Result<bool, LeaseError> {
        let asked = Instant::now();
        let Keys { lease, .. } = self.leases.keys(self.name);
        let arguments = (self.value.as_str(), millis(self.ttl));
        let redis = &self.leases.0.redis;
        let ours: bool = redis.script("renew", &scripts::RENEW, &[&lease], &arguments).await?;
        if ours {
            self.ends = asked + self.ttl;
            let age = i64::try_from(self.acquired.elapsed().as_secs()).unwrap_or(i64::MAX);
            metrics::AGE.with_label_values(&[self.name]).set(age);
        }
        Ok(ours)
    }

    /// Gives it back and tells whoever waits longest; `false` when it was no longer ours. Another holder's lease is
    /// never touched.
    ///
    /// # Errors
    /// When Redis can't be asked; the lease then ends by itself.
    pub async fn release(self) -> Result<bool, LeaseError> {
        let Keys { lease, queue, seen, .. } = self.leases.keys(self.name);
        let redis = &self.leases.0.redis;
        if sabotage::on(Switch::LeaseReleaseOthers) {
            let release = redis.run("release", async |connection| {
                cmd("DEL").arg(&lease).query_async(connection).await
            });
            return Ok(release.await?);
        }
        let channel = turns_channel(redis);
        let arguments = (self.value.as_str(), millis(WAITER_TTL), channel.as_str());
        let keys = [&*lease, &*queue, &*seen];
        let ours = redis.script("release", &scripts::RELEASE, &keys, &arguments).await?;
        Ok(ours)
    }

    /// Gives it back where nobody could do anything about a failure.
    pub(crate) async fn release_or_log(self) {
        let name = self.name;
        if let Err(error) = self.release().await {
            let error = error_chain(&error);
            tracing::warn!(lease = name, error, "a lease was left to end by itself");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        metrics::HELD.with_label_values(&[self.name]).dec();
        metrics::AGE.with_label_values(&[self.name]).set(0);
    }
}
