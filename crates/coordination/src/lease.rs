//! Leases: who may act now, and the token that proves it later.
//!
//! A lease is a key that expires. Its token comes from a counter in Redis, and because Redis may forget (a flush, a
//! restart without its data, a failover to a replica that lagged), the counter's upper half is an incarnation drawn
//! from PostgreSQL. It is kept beside the counter together with the replication id of the Redis it was drawn
//! under: a missing one, or one of another replication id, is replaced by a new one, and it is only ever raised.
//!
//! What isn't here: any promise that two holders never overlap. That promise is the sink's, see [`crate::Fenced`].

mod acquire;
mod attempt;
mod held;
mod keys;
mod list;
mod turns;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use millrace_resilience::{Class, Classify};
use millrace_runtime::Tasks;
use millrace_runtime::sabotage::{self, Switch};
use millrace_telemetry::{db_span, error_chain};
use sqlx::PgPool;
use tracing::Instrument as _;

use crate::redis::RedisError;
use crate::{Redis, metrics, scripts};
use keys::Keys;
use turns::Turns;

pub use acquire::WAITERS_MAX;
pub use held::Lease;
pub use list::{HeldStatus, LeaseList, LeaseStatus, SinkStatus};

/// Attempts at drawing an incarnation that nobody else has raised above meanwhile.
const DRAWS_MAX: usize = 4;

const NO_ARGUMENTS: &[&str] = &[];

/// Acquires leases for one holder. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Leases(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    redis: Redis,
    database: PgPool,
    holder: String,
    /// Makes each attempt of this holder its own.
    attempts: AtomicU64,
    turns: Arc<Turns>,
    /// What goes on after a caller has gone: leaving a queue, listening for turns. Nobody waits for it at the stop;
    /// what it leaves undone ends by itself in Redis.
    tasks: Tasks,
    /// Names that were asked for here; they are constants of the program, so it stays small.
    names: Mutex<BTreeSet<&'static str>>,
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
    /// As many wait as may.
    #[error("{WAITERS_MAX} others wait for lease `{lease}`")]
    QueueFull {
        /// The lease's name.
        lease: &'static str,
    },
}

impl Classify for LeaseError {
    fn class(&self) -> Class {
        match self {
            Self::Redis(error) => error.class(),
            Self::Incarnation { .. } | Self::Outbid { .. } | Self::QueueFull { .. } => {
                Class::Transient
            }
        }
    }
}

impl Leases {
    /// Leases for `holder`, which must be unique to this process (service and a random id, say). The database is the
    /// one whose sinks check the tokens: the incarnations come from its sequence.
    pub fn new(redis: Redis, database: PgPool, holder: impl Into<String>) -> Self {
        let tasks = Tasks::new();
        let turns = Turns::new(redis.clone(), tasks.clone());
        Self(Arc::new(Shared {
            redis,
            database,
            holder: holder.into(),
            attempts: AtomicU64::new(1),
            turns,
            tasks,
            names: Mutex::default(),
        }))
    }

    /// Who acquires here.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.0.holder
    }

    /// Has the next acquisition draw a new incarnation for the lease's counter. Call it after a sink refused a token:
    /// Redis gave one that was used already, or an older one. A [`crate::LeaseGuard`] does so itself.
    ///
    /// # Errors
    /// When Redis can't be asked.
    pub async fn raise_incarnation(&self, name: &'static str) -> Result<(), LeaseError> {
        let Keys { fence, .. } = self.keys(name);
        let _was_known: u8 =
            self.0.redis.script("raise", &scripts::RAISE, &[&fence], &NO_ARGUMENTS).await?;
        Ok(())
    }

    /// Raises it where nobody could do anything about a failure: the next refusal raises it again.
    pub(crate) async fn raise_or_log(&self, name: &'static str) {
        if let Err(error) = self.raise_incarnation(name).await {
            let error = error_chain(&error);
            tracing::warn!(lease = name, error, "the incarnation was not raised after a refusal");
        }
    }

    /// Runs `work` on the runtime where the pool was made, whether or not its caller goes on.
    pub(crate) fn afterwards(
        &self,
        task: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let _home = self.0.redis.home().enter();
        self.0.tasks.spawn(task, work);
    }

    /// A number above `above`, above every token a sink has seen, and above all drawn before.
    async fn draw_incarnation(&self, name: &'static str, above: u32) -> Result<u32, LeaseError> {
        if sabotage::on(Switch::LeaseForgetIncarnation) {
            return Ok(above + 1);
        }
        let drawn = draw(&self.0.database, above)
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
        Keys::of(&self.0.redis, name)
    }

    fn know(&self, name: &'static str) {
        self.0.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
    }
}

/// One draw at a time: between a draw and its `setval` another one could set the sequence back, and the third would get
/// what the second has.
async fn draw(database: &PgPool, above: u32) -> Result<i64, sqlx::Error> {
    let mut transaction = database.begin().await?;
    sqlx::query("select pg_advisory_xact_lock('lease_incarnation'::regclass::oid::bigint)")
        .execute(&mut *transaction)
        .await?;
    let drawn = sqlx::query_scalar(
        "select setval('lease_incarnation', greatest(nextval('lease_incarnation'), $1 + 1, \
             (select coalesce(max(fence >> 32), 0) + 1 from lease_fence)))",
    )
    .bind(i64::from(above))
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(drawn)
}
