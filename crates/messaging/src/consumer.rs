//! Consuming: one group, one topic, one handler.
//!
//! ```text
//! broker -> poll loop (a std thread of its own) -> one worker task per owned partition -> handler
//!              ^ commits, pauses, rebalances              | finished offsets, dead letters
//!              +------------------------------------------+
//! ```
//! The poll loop is the only one that talks to the client: it hands records to workers without ever waiting for
//! them, pauses a partition whose worker holds too much, commits what workers finished, and answers rebalances.
//! A worker settles the records of one partition strictly in order: handled, skipped or dead-lettered, and a
//! record that can't be settled yet holds back its own partition and no other.

mod commit;
mod dead_letter;
mod decode;
mod errand;
mod failure;
mod health;
mod identity;
mod partition;
mod poll;
mod progress;
mod rebalance;
mod record;
mod session;
mod watermarks;
mod worker;

use std::sync::Arc;

use millrace_envelope::{ConsumerGroup, Topic};
use millrace_runtime::{CancellationToken, Tasks};
use tokio::runtime::Handle;

pub use health::ConsumerHealth;

use crate::client::ClientError;
use crate::{Handler, KafkaSettings, Producer};
use health::Board;
use identity::Identity;
use poll::PollLoop;
use session::Session;

/// Why a consumer was not started.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    /// The client refused its settings.
    #[error("consumer client was not created")]
    Create(#[source] ClientError),
    /// The operating system gave no thread for the poll loop.
    #[error("thread of the poll loop was not started")]
    Thread(#[source] std::io::Error),
    /// Workers are tasks, so a consumer starts inside a tokio runtime.
    #[error("consumer was started outside a tokio runtime")]
    NoRuntime(#[source] tokio::runtime::TryCurrentError),
}

/// A running consumer; dropping the handle doesn't stop it, its token does.
#[derive(Debug, Clone)]
pub struct ConsumerHandle {
    board: Arc<Board>,
    closed: CancellationToken,
}

impl ConsumerHandle {
    /// How it does now.
    #[must_use]
    pub fn health(&self) -> ConsumerHealth {
        self.board.read()
    }

    /// Ends when the consumer has finished what it held, committed it and left its group.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }
}

/// Starts to hand the topic's records to the handler, from the group's committed offsets (the topic's beginning when
/// there are none), until `stop` is cancelled. A missing topic or broker is waited for and shows in the health.
///
/// # Errors
/// See [`ConsumeError`].
pub fn consume<H: Handler>(
    settings: &KafkaSettings,
    group: ConsumerGroup,
    topic: impl Topic,
    handler: H,
    producer: Producer,
    tasks: &Tasks,
    stop: CancellationToken,
) -> Result<ConsumerHandle, ConsumeError> {
    let runtime = Handle::try_current().map_err(ConsumeError::NoRuntime)?;
    let identity = Arc::new(Identity::new(settings, group, &topic.topic_name()));
    let board = Arc::new(Board::new(settings.stall_limit));
    let closed = CancellationToken::new();
    // Cancelled when the supervising task is dropped: a runtime that goes away takes the thread with it.
    let unsupervised = CancellationToken::new();
    let session = Session::open(settings, &identity).map_err(ConsumeError::Create)?;
    let poll_loop = PollLoop {
        settings: settings.clone(),
        identity: Arc::clone(&identity),
        handler: Arc::new(handler),
        producer,
        board: Arc::clone(&board),
        tasks: tasks.clone(),
        stop,
        unsupervised: unsupervised.clone(),
    };
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name(format!("kafka-{group}"))
        .spawn(move || {
            let _inside = runtime.enter();
            let outcome =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll_loop.run(session)));
            poll_loop.board.stopped();
            // Nobody listens any more when the runtime is gone.
            drop(ended.send(outcome));
        })
        .map_err(ConsumeError::Thread)?;
    let handle = ConsumerHandle { board, closed: closed.clone() };
    tasks.spawn(format!("consumer {group} of {}", identity.topic), async move {
        let _supervised = unsupervised.drop_guard();
        let _closed = closed.drop_guard();
        let outcome = end.await;
        if let Ok(Err(panic)) = outcome {
            tracing::error!(group = identity.group, topic = identity.topic, "poll loop panicked");
            // The supervisor ends as the loop did, so that the task board names it.
            std::panic::resume_unwind(panic);
        }
    });
    Ok(handle)
}
