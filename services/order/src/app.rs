//! The use cases, one a file, and what they share. Transactions live here and nowhere else.
//!
//! Each use case has the same steps: read under lock, let the domain decide, write state and outbox together,
//! commit, wake the relay. Nothing is published from here: the relay does that after the commit, and does it
//! again when it isn't sure.

pub(crate) mod cancel_order;
mod decisions;
pub(crate) mod expire_orders;
pub(crate) mod keep_products;
pub(crate) mod order_status;
pub(crate) mod place_order;
pub(crate) mod receive_payment;
mod settle;
pub(crate) mod settle_payment;
pub(crate) mod settle_reservation;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_common::outbox::{EncodeError, RelayWaker, StoreError};
use millrace_common::resilience::{Class, Classify};
use millrace_common::runtime::Clock;
use millrace_common::scheduler::RunError;
use sqlx::{PgPool, Postgres, Transaction};

pub(crate) use settle::{News, SettleError};

/// What every use case works with. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct App(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pool: PgPool,
    waker: RelayWaker,
    clock: Clock,
    rules: Rules,
}

/// The business's own settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// How long a customer has to pay once the stock is held.
    pub(crate) pay_within: TimeDelta,
    /// How long the reply to an idempotency key is kept.
    pub(crate) reply_ttl: Duration,
    /// How long inventory has to answer.
    pub(crate) placed_limit: TimeDelta,
    /// Most orders that one transaction of the expiry cancels.
    pub(crate) expiry_batch: u32,
}

impl App {
    pub(crate) fn new(pool: PgPool, waker: RelayWaker, clock: Clock, rules: Rules) -> Self {
        Self(Arc::new(Shared { pool, waker, clock, rules }))
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    fn pool(&self) -> &PgPool {
        &self.0.pool
    }

    fn rules(&self) -> &Rules {
        &self.0.rules
    }

    /// Now, to the millisecond: what events carry and what the database keeps are then the same instant.
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0.clock.now_ms()).unwrap_or_default()
    }

    async fn begin(&self) -> Result<Transaction<'static, Postgres>, Failure> {
        Ok(self.0.pool.begin().await?)
    }

    fn wake_relay(&self) {
        self.0.waker.wake();
    }
}

/// The world broke while a use case was at work; nothing of it was done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The work of a task was somebody else's by then.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Can't happen under the row locks; if it does, deciding again from the new state is right.
    #[error("{changed} orders were decided and {written} of them written")]
    LostUpdate { changed: usize, written: u64 },
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Classify for Failure {
    fn class(&self) -> Class {
        match self {
            Self::Store(error) => error.class(),
            Self::Encode(error) => error.class(),
            Self::Run(error) => error.class(),
            Self::LostUpdate { .. } => Class::Transient,
        }
    }
}
