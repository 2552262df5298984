//! Carries committed rows to the broker, in order per aggregate, at least once.
//!
//! **No high-water mark.** Sequence numbers are drawn before commit, so a transaction that stays open may commit
//! row 5 after row 9 was published. The relay reads whatever rows are visible and deletes those the broker
//! acknowledged; a late row is simply still there. What it remembers is a floor below which nothing can appear any
//! more, so that it needn't walk over what it has deleted; `floors.rs` says how that is known.
//!
//! **Order.** Aggregates are spread over buckets; only who holds a bucket's advisory lock publishes from it, so two
//! instances can't overtake each other. Rows of one aggregate are sent one behind the other without waiting for
//! answers, by a producer that gives back all of them when one fails ([`millrace_messaging::OrderedProducer`]); they
//! are then read again, from the first one that was not acknowledged. Locks belong to a session of the relay's own,
//! never to a transaction (an open one would hold up vacuum) and never to the pool. A session that is lost has
//! lost its locks: everything not yet answered is dropped and read again later.
//! What a dropped producer still had on the wire may arrive late: then it repeats, in order, what is published anyway.
//!
//! **One bad aggregate.** A row that fails holds back its own aggregate, with growing waits; the others flow. After
//! enough failures the aggregate is set aside until an operator releases it ([`crate::aside`]). A broker that is away
//! fails nothing: rows wait in the producer, in order, until it is back.
//!
//! **When.** Woken in process after commit ([`RelayWaker`]), by a notification from other processes
//! ([`RelayNotifier`]), and by a poll as the safety net. Buckets are released as soon as they are drained, so that
//! each instance publishes its own fresh rows without waiting for another's poll.
//!
//! What isn't here: retries of one send (the producer's work), and exactly-once (the inbox's work: after a crash
//! between acknowledgement and delete, rows are published again under the same id).

mod flight;
mod floors;
mod health;
mod holds;
mod metrics;
mod notify;
mod read;
mod run;
mod store;
mod verdict;
mod work;

use std::sync::Arc;

use millrace_messaging::{KafkaSettings, PublishError};
use millrace_resilience::{Class, Classify};
use sqlx::PgPool;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Notify;

use crate::RelaySettings;

pub use health::{RelayHealth, RelayStatus};
pub use notify::RelayNotifier;
pub(crate) use notify::WAKE_CHANNEL;

/// The relay of one service instance.
#[derive(Debug)]
pub struct Relay {
    options: PgConnectOptions,
    kafka: KafkaSettings,
    settings: RelaySettings,
    wake: Arc<Notify>,
    health: RelayHealth,
}

/// Wakes a relay after a commit. Cloning shares it.
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
    /// The relay's own producer could not be made.
    #[error("the relay has no producer")]
    Producer(#[source] Box<dyn std::error::Error + Send + Sync>),
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
        source: RowError,
    },
    /// There were rows, and the broker said nothing for as long as a publish may take.
    #[error("the broker did not answer for {rows} rows")]
    Unanswered {
        /// How many are on their way.
        rows: usize,
    },
}

/// Why a row was not published.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The producer's reason.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// It holds no record.
    #[error("row can't be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl RowError {
    /// It says nothing about the row: the producer takes none just now.
    fn is_not_now(&self) -> bool {
        matches!(self, Self::Publish(PublishError::QueueFull))
    }
}

impl Classify for RowError {
    fn class(&self) -> Class {
        match self {
            Self::Publish(error) => error.class(),
            Self::Unreadable(_) => Class::Permanent,
        }
    }
}

impl Relay {
    /// A relay beside `pool`, whose options its own connections take, with a producer of its own. Connects to
    /// nothing yet.
    #[must_use]
    pub fn new(
        pool: &PgPool,
        kafka: &KafkaSettings,
        settings: RelaySettings,
        service: &str,
    ) -> Self {
        let options = pool.connect_options().as_ref().clone();
        Self {
            // An outbox is empty most of the time, and what the planner knows of one with a backlog is mostly old or
            // nothing at all: then it scans the table to delete a few rows, or sorts a whole bucket to read its first
            // ones. Every statement here is meant to walk along the key, so the other ways are closed, and a plan made
            // once serves for all. Compiling such a plan takes a hundred times as long as running it.
            options: options.application_name(&format!("{service}-relay")).options([
                ("enable_seqscan", "off"),
                ("enable_bitmapscan", "off"),
                ("enable_sort", "off"),
                ("plan_cache_mode", "force_generic_plan"),
                ("jit", "off"),
            ]),
            kafka: kafka.clone(),
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
