//! Consuming: one group, one topic, one handler.
//!
//! ```text
//! broker -> poll loop (a std thread of its own) -> schedule (lanes by key) -> runners (tasks) -> handler
//!              ^ commits, letters, pauses, rebalances        ^ settlements: done, again, letter    |
//!              +---------------------------------------------+-------------------------------------+
//! ```
//! The poll loop is the only one that talks to the client, and waits for nobody. The schedule decides what may be
//! handed over, so that records of one key stay in order and all others pass by; it is pure. Runners make the calls. What is committed
//! is the offset below the oldest unfinished record, with a map of what is finished above it.

mod backlog;
mod call;
mod commit;
mod control;
mod dispatch;
mod errand;
mod failure;
mod health;
mod identity;
mod instance;
mod lanes;
mod letters;
mod lineage;
mod log_pace;
mod meters;
mod mode;
mod offsets;
mod outbound;
mod poll;
mod positions;
mod postman;
mod reading;
mod rebalance;
mod retry_policy;
mod runner;
mod schedule;
mod session;
mod slot;
mod start;
mod sync;
mod transaction;
mod watermarks;

use std::sync::Arc;

use millrace_envelope::{ConsumerGroup, Topic, TopicName};
use millrace_runtime::CancellationToken;
use tokio::sync::broadcast;

pub use health::ConsumerHealth;
pub use mode::Mode;
pub use retry_policy::{RetryPolicy, RetryPolicyError, Route};

use crate::client::ClientError;
use crate::epoch::EpochStore;
use crate::letter::DeadLetterStore;
use crate::{Handler, KafkaSettings};
use control::Control;
use health::Board;
use mode::Order;

/// Why a consumer was not started.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// The client refused its settings.
    #[error("consumer client was not created")]
    Create(#[source] ClientError),
    /// The operating system gave no thread for the poll loop.
    #[error("thread of the poll loop was not started")]
    Thread(#[source] std::io::Error),
    /// Calls are tasks, so a consumer starts inside a tokio runtime.
    #[error("consumer was started outside a tokio runtime")]
    NoRuntime(#[source] tokio::runtime::TryCurrentError),
    /// The retry policy doesn't fit the mode.
    #[error("retry policy was refused")]
    Policy(#[source] RetryPolicyError),
}

/// Something happened to a consumer that an operator may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerEvent {
    /// It owns these partitions now.
    Assigned {
        /// Their numbers.
        partitions: Vec<i32>,
    },
    /// It gives these partitions back.
    Revoked {
        /// Their numbers.
        partitions: Vec<i32>,
    },
    /// The broker took these away without waiting: another member may have them already.
    Lost {
        /// Their numbers.
        partitions: Vec<i32>,
    },
    /// The client stopped polling for longer than the group allows, and was put out.
    Evicted,
    /// Another process has joined under this one's instance id.
    Fenced,
    /// Records wait and none is handed over, for no reason that explains it.
    Stalled {
        /// In words.
        reason: String,
    },
    /// It is no longer stalled.
    Recovered,
}

/// A consumer before it starts: who reads what, and how.
pub struct Consumer<H> {
    group: ConsumerGroup,
    topic: TopicName,
    handler: H,
    mode: Mode,
    concurrency: Option<usize>,
    policy: Option<RetryPolicy>,
    dead_letters: Option<Arc<dyn DeadLetterStore>>,
    epochs: Option<Arc<dyn EpochStore>>,
}

impl<H> std::fmt::Debug for Consumer<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { group, topic, mode, .. } = self;
        f.debug_struct("Consumer")
            .field("group", group)
            .field("topic", topic)
            .field("mode", mode)
            .finish_non_exhaustive()
    }
}

impl<H: Handler> Consumer<H> {
    /// Reads `topic` as `group`, ordered by key, with the settings' concurrency and retries.
    pub fn new(group: ConsumerGroup, topic: impl Topic, handler: H) -> Self {
        Self {
            group,
            topic: topic.topic_name(),
            handler,
            mode: Mode::KeyShared,
            concurrency: None,
            policy: None,
            dead_letters: None,
            epochs: None,
        }
    }

    /// Who shares the work, and what stays in order.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Calls of the handler that may be open at once; the setting `concurrency` unless told here.
    #[must_use]
    pub fn concurrency(mut self, calls: usize) -> Self {
        self.concurrency = Some(calls.max(1));
        self
    }

    /// How often and where a failed record is tried again.
    #[must_use]
    pub fn retries(mut self, policy: RetryPolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Keeps dead letters in the consumer's own database, in one commit with the inbox's `dead` outcome. Without it
    /// they are published in a Kafka transaction with the offset of their record.
    #[must_use]
    pub fn dead_letters(mut self, store: Arc<dyn DeadLetterStore>) -> Self {
        self.dead_letters = Some(store);
        self
    }

    /// Gives each delivery an epoch that its sink can check; for sinks without an inbox.
    #[must_use]
    pub fn epochs(mut self, store: Arc<dyn EpochStore>) -> Self {
        self.epochs = Some(store);
        self
    }
}

/// A running consumer; dropping the handle doesn't stop it, its token does.
#[derive(Debug, Clone)]
pub struct ConsumerHandle {
    group: ConsumerGroup,
    topic: TopicName,
    control: Vec<Arc<Control>>,
    boards: Vec<Arc<Board>>,
    closed: CancellationToken,
}

impl ConsumerHandle {
    /// Who reads.
    #[must_use]
    pub fn group(&self) -> ConsumerGroup {
        self.group
    }

    /// What it reads.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// How it does now, its retry topics included.
    #[must_use]
    pub fn health(&self) -> ConsumerHealth {
        let mut boards = self.boards.iter().map(|board| board.read());
        let first = boards.next().unwrap_or_default();
        boards.fold(first, ConsumerHealth::with)
    }

    /// Ends when the consumer has finished what it held, committed it and left its group.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Calls of the handler that may be open at once.
    #[must_use]
    pub fn concurrency(&self) -> usize {
        self.control.first().map_or(0, |control| control.concurrency())
    }

    /// Changes it at once, without a rebalance; at least 1.
    pub fn set_concurrency(&self, calls: usize) {
        self.control.iter().for_each(|control| control.set_concurrency(calls));
    }

    /// Hands nothing more over until [`ConsumerHandle::resume`], also not after a rebalance. It stays in its group.
    pub fn pause(&self) {
        self.control.iter().for_each(|control| control.set_paused(true));
    }

    /// Goes on after a pause.
    pub fn resume(&self) {
        self.control.iter().for_each(|control| control.set_paused(false));
    }

    /// True between a pause and a resume.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.control.first().is_some_and(|control| control.paused())
    }

    /// What happens to it from now on. A listener that falls behind loses the oldest.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<ConsumerEvent> {
        self.boards[0].events()
    }
}

/// Settings and parts that every loop of one consumer is started with.
struct Parts<'a, H> {
    settings: &'a KafkaSettings,
    handler: Arc<H>,
    policy: RetryPolicy,
    order: Order,
    concurrency: usize,
    dead_letters: Option<Arc<dyn DeadLetterStore>>,
    epochs: Option<Arc<dyn EpochStore>>,
}
