//! The only write paths under a lease: with the token's proof, or without it by a named exemption.
//!
//! Code under a guard gets a [`Fenced`] and no token that it could forget to check: a transaction that it begins has
//! passed the fence, or there is none. Where a condition in the database alone decides what is written (a conditional
//! update under row locks, say), an [`Exempt`] says so by name, and is counted and logged.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use millrace_resilience::{Class, Classify};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

use super::held::Held;
use crate::{FencingToken, fence, metrics};

/// The proof that work under a guard has, given to it by [`crate::LeaseGuard::run`]. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Fenced(pub(super) Arc<Held>);

/// Leave to write without a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exempt {
    lease: &'static str,
}

/// How a use writes that can do without its lease when it must.
#[derive(Debug, Clone)]
pub enum WritePath {
    /// Under the lease.
    Fenced(Fenced),
    /// Without it; the database's condition decides.
    Exempt(Exempt),
}

/// A transaction that has passed the fence, or was exempted from it by name. Dropping it rolls back.
#[derive(Debug)]
pub struct FencedTransaction {
    transaction: Transaction<'static, Postgres>,
    held: Option<Arc<Held>>,
}

/// Why no transaction was begun.
#[derive(Debug, thiserror::Error)]
pub enum FencedError {
    /// The sink knows a newer holder. This token is never accepted again; a new acquisition's is, and the guard sees to
    /// it that it is higher.
    #[error("the sink of lease `{lease}` refused token {token}")]
    Refused {
        /// The lease's name.
        lease: &'static str,
        /// The token.
        token: FencingToken,
    },
    /// The lease was lost before.
    #[error("lease `{lease}` was lost before the write")]
    Lost {
        /// The lease's name.
        lease: &'static str,
    },
    /// The database is away or refused.
    #[error("the database began no transaction under lease `{lease}`")]
    Database {
        /// The lease's name.
        lease: &'static str,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
}

impl Classify for FencedError {
    /// A refusal is permanent for this holder: the same proof can't pass again. Trying anew under a new lease can.
    fn class(&self) -> Class {
        match self {
            Self::Refused { .. } => Class::Permanent,
            Self::Lost { .. } | Self::Database { .. } => Class::Transient,
        }
    }
}

impl Fenced {
    /// The lease's name.
    #[must_use]
    pub fn lease(&self) -> &'static str {
        self.0.name
    }

    /// For columns and logs; the check is made by [`Fenced::begin`].
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.0.token
    }

    /// Who holds the lease.
    #[must_use]
    pub fn holder(&self) -> &str {
        self.0.leases.holder()
    }

    /// Says that the work gets on. Beginning and ending a transaction says so too; call it where more than the guard's
    /// `progress_within` may pass in between.
    pub fn progress(&self) {
        self.0.progress();
    }

    /// Begins a transaction and proves the token in it. Until it ends, nobody else's proof under this lease passes.
    ///
    /// # Errors
    /// When the sink refuses the token, the lease was lost, or the database is away.
    pub async fn begin(&self, pool: &PgPool) -> Result<FencedTransaction, FencedError> {
        let Held { name: lease, token, .. } = *self.0;
        if self.0.lost.is_cancelled() {
            return Err(FencedError::Lost { lease });
        }
        let failed = |source| FencedError::Database { lease, source };
        let mut transaction = pool.begin().await.map_err(failed)?;
        let accepted = fence::check(&mut transaction, lease, token, self.holder()).await;
        if !accepted.map_err(failed)? {
            self.0.refuse();
            return Err(FencedError::Refused { lease, token });
        }
        self.0.progress();
        Ok(FencedTransaction { transaction, held: Some(Arc::clone(&self.0)) })
    }
}

impl Exempt {
    /// Leave to write for what `lease` guards, without its token: the database's own condition decides. `reason` says
    /// which one, and stands in the log once.
    #[must_use]
    pub fn new(lease: &'static str, reason: &'static str) -> Self {
        static SAID: Mutex<BTreeSet<(&str, &str)>> = Mutex::new(BTreeSet::new());
        let new = SAID.lock().unwrap_or_else(PoisonError::into_inner).insert((lease, reason));
        if new {
            tracing::warn!(lease, reason, "writes happen without a fencing token");
        }
        Self { lease }
    }

    /// Begins a transaction, and counts it.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn begin(&self, pool: &PgPool) -> Result<FencedTransaction, FencedError> {
        let begun = pool.begin().await;
        let transaction =
            begun.map_err(|source| FencedError::Database { lease: self.lease, source })?;
        metrics::EXEMPT_WRITES.with_label_values(&[self.lease]).inc();
        Ok(FencedTransaction { transaction, held: None })
    }
}

impl WritePath {
    /// Begins a transaction by either path.
    ///
    /// # Errors
    /// As [`Fenced::begin`].
    pub async fn begin(&self, pool: &PgPool) -> Result<FencedTransaction, FencedError> {
        match self {
            Self::Fenced(fenced) => fenced.begin(pool).await,
            Self::Exempt(exempt) => exempt.begin(pool).await,
        }
    }
}

impl FencedTransaction {
    /// Commits, and counts as progress.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.transaction.commit().await?;
        if let Some(held) = self.held {
            held.progress();
        }
        Ok(())
    }

    /// Undoes everything, the sink's knowledge of the token too.
    ///
    /// # Errors
    /// Whatever the database says.
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        self.transaction.rollback().await
    }

    /// The transaction itself, for code that commits on its own.
    #[must_use]
    pub fn into_transaction(self) -> Transaction<'static, Postgres> {
        self.transaction
    }
}

impl Deref for FencedTransaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for FencedTransaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}
