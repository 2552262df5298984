//! Leases: who may act now, and the token that proves it later.
//!
//! A lease is a key that expires. Its token comes from a counter in Redis, and because Redis may forget (a flush, a
//! restart without its data, a failover to a replica that lagged), the counter's upper half is an incarnation drawn
//! from PostgreSQL. It is kept beside the counter together with the replication id of the Redis it was drawn
//! under: a missing one, or one of another replication id, is replaced by a new one, and it is only ever raised.
//!
//! Counters aren't kept per lease but in a fixed number of slots, so that lease names can't fill Redis with keys that
//! never expire. Lease and counter of one name share a hash tag and so a node of a cluster.
//!
//! What isn't here: waiting for a lease (an attempt fails at once when it is held), and any promise that two holders
//! never overlap. That promise is the sink's: [`crate::fence::check`].

use std::sync::Arc;
use std::time::Duration;

use millrace_resilience::{Class, Classify};
use millrace_telemetry::{db_span, error_chain};
use sqlx::PgPool;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::redis::RedisError;
use crate::{FencingToken, Redis, metrics, scripts};

/// Counters in Redis, whatever the number of leases.
const FENCE_SLOTS: u32 = 64;

/// Attempts at drawing an incarnation that nobody else has raised above meanwhile.
const DRAWS_MAX: usize = 4;

/// Acquires leases for one holder. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Leases(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    redis: Redis,
    database: PgPool,
    holder: String,
}

/// Why a lease was neither acquired nor found held.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Redis is away or refused.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// A new incarnation was needed and the database is away.
    #[error("no incarnation could be drawn for lease `{lease}`")]
    Incarnation {
        /// The lease's name.
        lease: &'static str,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
    /// Others kept raising the incarnation.
    #[error("incarnation of lease `{lease}` was raised by others {DRAWS_MAX} times in a row")]
    Outbid {
        /// The lease's name.
        lease: &'static str,
    },
}

impl Classify for LeaseError {
    fn class(&self) -> Class {
        match self {
            Self::Redis(error) => error.class(),
            Self::Incarnation { .. } | Self::Outbid { .. } => Class::Transient,
        }
    }
}

impl Leases {
    /// Leases for `holder`, which must be unique to this process (service and a random id, say). The database is the
    /// one whose sinks check the tokens: the incarnations come from its sequence.
    pub fn new(redis: Redis, database: PgPool, holder: impl Into<String>) -> Self {
        Self(Arc::new(Shared { redis, database, holder: holder.into() }))
    }

    /// Who acquires here.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.0.holder
    }

    /// One attempt; `None` when someone holds it. The name is a constant of the program.
    ///
    /// # Errors
    /// When Redis can't be asked, or an incarnation is needed and PostgreSQL can't be asked.
    pub async fn acquire(
        &self,
        name: &'static str,
        ttl: Duration,
    ) -> Result<Option<Lease>, LeaseError> {
        let acquired = self.try_acquire(name, ttl).await;
        let outcome = match &acquired {
            Ok(Some(_)) => "acquired",
            Ok(None) => "held",
            Err(_) => "failed",
        };
        metrics::ACQUISITIONS.with_label_values(&[name, outcome]).inc();
        acquired
    }

    /// Draws a new incarnation for the lease's counter. Call it after a sink refused a token: Redis gave one that
    /// was used already, or an older one.
    ///
    /// # Errors
    /// As [`Leases::acquire`].
    pub async fn raise_incarnation(&self, name: &'static str) -> Result<(), LeaseError> {
        let offered = self.draw_incarnation(name, 0).await?;
        let fence = self.keys(name).fence;
        let _standing: u32 = self
            .0
            .redis
            .run("raise", async |connection| {
                scripts::RAISE.key(fence).arg(offered).invoke_async(connection).await
            })
            .await?;
        Ok(())
    }

    async fn try_acquire(
        &self,
        name: &'static str,
        ttl: Duration,
    ) -> Result<Option<Lease>, LeaseError> {
        let Keys { lease, fence } = self.keys(name);
        let ttl_ms = millis(ttl);
        let mut offered: u32 = 0;
        for _ in 0..DRAWS_MAX {
            // Before the request: the lease can only end later than we believe.
            let asked = Instant::now();
            let (answer, incarnation, counter): (u8, u32, u32) = self
                .0
                .redis
                .run("acquire", async |connection| {
                    let mut script = scripts::ACQUIRE.key(&lease);
                    script.key(&fence).arg(self.holder()).arg(ttl_ms).arg(offered);
                    script.invoke_async(connection).await
                })
                .await?;
            match answer {
                0 => return Ok(None),
                1 => {
                    metrics::HELD.with_label_values(&[name]).set(1);
                    return Ok(Some(Lease {
                        name,
                        key: lease,
                        value: format!("{incarnation}:{counter}:{}", self.holder()),
                        token: FencingToken::new(incarnation, counter),
                        holder: self.holder().to_owned(),
                        ttl,
                        ends: asked + ttl,
                        redis: self.0.redis.clone(),
                    }));
                }
                _ => offered = self.draw_incarnation(name, incarnation).await?,
            }
        }
        Err(LeaseError::Outbid { lease: name })
    }

    /// A number above `above`, above every token a sink has seen, and above all drawn before.
    async fn draw_incarnation(&self, name: &'static str, above: u32) -> Result<u32, LeaseError> {
        let drawn: i64 = sqlx::query_scalar(
            "select setval('lease_incarnation', greatest(nextval('lease_incarnation'), $1 + 1, \
                 (select coalesce(max(fence >> 32), 0) + 1 from lease_fence)))",
        )
        .bind(i64::from(above))
        .fetch_one(&self.0.database)
        .instrument(db_span("SELECT", "lease_incarnation"))
        .await
        .map_err(|source| LeaseError::Incarnation { lease: name, source })?;
        metrics::INCARNATIONS.inc();
        tracing::info!(
            lease = name,
            incarnation = drawn,
            "drew a new incarnation for fencing tokens"
        );
        // The sequence's maximum is 2^31 - 1.
        Ok(u32::try_from(drawn).unwrap_or(u32::MAX))
    }

    fn keys(&self, name: &str) -> Keys {
        let slot = slot_of(name);
        Keys {
            lease: self.0.redis.key(&format!("lease:{{{slot}}}:{name}")),
            fence: self.0.redis.key(&format!("fence:{{{slot}}}")),
        }
    }
}

struct Keys {
    lease: String,
    fence: String,
}

/// A lease that was acquired. It ends by itself; [`Lease::keep`] renews it while work goes on.
#[derive(Debug)]
pub struct Lease {
    name: &'static str,
    key: String,
    value: String,
    token: FencingToken,
    holder: String,
    ttl: Duration,
    ends: Instant,
    redis: Redis,
}

impl Lease {
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
        &self.holder
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

    /// Starts its time anew; `false` when it is no longer ours. Only the acquisition that made it can.
    ///
    /// # Errors
    /// When Redis can't be asked; the lease then ends when it would have.
    pub async fn renew(&mut self) -> Result<bool, LeaseError> {
        let asked = Instant::now();
        let ours: bool = self
            .redis
            .run("renew", async |connection| {
                let mut script = scripts::RENEW.key(&self.key);
                script.arg(&self.value).arg(millis(self.ttl)).invoke_async(connection).await
            })
            .await?;
        if ours {
            self.ends = asked + self.ttl;
        }
        Ok(ours)
    }

    /// Gives it back; `false` when it was no longer ours. Another holder's lease is never touched.
    ///
    /// # Errors
    /// When Redis can't be asked; the lease then ends by itself.
    pub async fn release(self) -> Result<bool, LeaseError> {
        let ours = self
            .redis
            .run("release", async |connection| {
                scripts::RELEASE.key(&self.key).arg(&self.value).invoke_async(connection).await
            })
            .await?;
        Ok(ours)
    }

    /// Gives it back where nobody could do anything about a failure.
    pub(crate) async fn release_or_log(self) {
        let name = self.name;
        if let Err(error) = self.release().await {
            tracing::warn!(lease = name, error = %error_chain(&error), "a lease was left to end by itself");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        metrics::HELD.with_label_values(&[self.name]).set(0);
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// FNV-1a: stable across releases, which a lease held during a rolling update needs.
fn slot_of(name: &str) -> u32 {
    let hash = name
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash % FENCE_SLOTS
}
