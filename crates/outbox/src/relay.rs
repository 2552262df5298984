//! Carries committed rows to the broker, in order per aggregate, at least once.
//!
//! **No high-water mark.** Sequence numbers are drawn before commit, so a transaction that stays open may commit
//! row 5 after row 9 was published. The relay remembers no position: it reads whatever rows are visible and
//! deletes those the broker acknowledged. A late row is simply still there.
//!
//! **Order.** Aggregates are spread over buckets; only who holds a bucket's advisory lock publishes from it, so two
//! instances can't overtake each other. Within one aggregate and topic the next row is sent after the one before it
//! was acknowledged: sending several at once would let the second pass when the first times out. Locks belong to a
//! session of the relay's own, never to a transaction (an open one would hold up vacuum) and never to the pool.
//! A session that is lost has lost its locks: everything not yet sent is dropped and read again later.
//!
//! **One bad aggregate.** A row that fails holds back its own aggregate, with growing waits; the others flow. A row
//! whose partition hangs doesn't make others wait either: it stays in flight while the next rows are read.
//!
//! **When.** Woken in process after commit ([`RelayWaker`]), and by a poll as the safety net. Buckets are released
//! as soon as they are drained, so that each instance publishes its own fresh rows without waiting for another's
//! poll.
//!
//! What isn't here: retries of one send (the producer's work), and exactly-once (the inbox's work: after a crash
//! between acknowledgement and delete, rows are published again under the same id).

mod flight;
mod health;
mod holds;
mod metrics;
mod run;
mod store;

use std::sync::Arc;

use millrace_messaging::{Producer, PublishError};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Notify;

use crate::RelaySettings;

pub use health::{RelayHealth, RelayStatus};

/// The relay of one service instance.
#[derive(Debug)]
pub struct Relay {
    options: PgConnectOptions,
    producer: Producer,
    settings: RelaySettings,
    wake: Arc<Notify>,
    health: RelayHealth,
}

/// Wakes the relay after a commit. Cloning shares it.
#[derive(Debug, Clone)]
pub struct RelayWaker(Arc<Notify>);

impl RelayWaker {
    /// There may be new rows. Cheap, never waits; any number of calls before the next look are one.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The relay's own connection could not be opened.
    #[error("the relay can't reach the database")]
    Connect(#[source] sqlx::Error),
    /// Opening took too long.
    #[error("the database didn't answer the relay in time")]
    ConnectTimeout,
    /// The connection broke, and with it the claim on the buckets.
    #[error("the relay lost its database session while it tried to {step}")]
    Session {
        /// What it was doing.
        step: &'static str,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
    /// There were rows and not one was accepted.
    #[error("the broker accepted none of {rows} rows")]
    Broker {
        /// How many were tried.
        rows: usize,
        /// The first refusal.
        #[source]
        source: PublishError,
    },
}

impl Relay {
    /// A relay beside `pool`, whose options its own connection takes. Connects to nothing yet.
    #[must_use]
    pub fn new(pool: &PgPool, producer: Producer, settings: RelaySettings, service: &str) -> Self {
        let options = pool.connect_options().as_ref().clone();
        Self {
            // An outbox is empty most of the time, so the planner takes a scan of the whole table for the cheapest way
            // to delete a few rows, and keeps to that when the table has thousands of dead ones.
            options: options
                .application_name(&format!("{service}-relay"))
                .options([("enable_seqscan", "off")]),
            producer,
            settings,
            wake: Arc::default(),
            health: RelayHealth::default(),
        }
    }

    /// The handle that stores and use cases call after commit.
    #[must_use]
    pub fn waker(&self) -> RelayWaker {
        RelayWaker(Arc::clone(&self.wake))
    }

    /// The handle for the health page.
    #[must_use]
    pub fn health(&self) -> RelayHealth {
        self.health.clone()
    }
}
