//! What an application writes to handle messages: one trait, what it is given, and how each record settles.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;

use millrace_envelope::{ErrorCode, MessageContext, TopicName};
use millrace_resilience::{Class, Classify};

use crate::codes;
use crate::epoch::Epoch;
use crate::message::Message;

/// Handles the records of one consumer group on one topic.
///
/// The future may be dropped at an await point when its partition is taken away; what it had not committed by then
/// must not count. A record may come again (after a crash, a rebalance, a failure), so a handler meets it twice
/// without harm: the inbox is for that.
pub trait Handler: Send + Sync + 'static {
    /// What it wants records to be read as.
    type Message: Message;

    /// Handles records of one partition. Records of one key stand in their order.
    fn handle(&self, batch: Batch<Self::Message>) -> impl Future<Output = Outcomes> + Send;

    /// How many records one call takes at most; `None` leaves it to the settings.
    fn batch_records_max(&self) -> Option<usize> {
        None
    }
}

/// One record, read.
#[derive(Debug)]
pub struct Delivery<M> {
    /// What was sent.
    pub message: M,
    /// Ready to be handed to outbox rows: the trace is this record's process span, the cause is its message.
    pub context: MessageContext,
    /// The logical name of the topic that it was first published on.
    pub topic: TopicName,
    /// The partition it came from.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// Which time it is handed over, from 1; retries of an earlier process count as far as their topic tells.
    pub attempt: u32,
    /// The number to check at a sink, when the consumer was started with an epoch store.
    pub epoch: Option<Epoch>,
    /// This record's process span; log lines about the record belong inside it.
    pub span: tracing::Span,
}

/// Records of one partition, those of one key in order.
#[derive(Debug)]
pub struct Batch<M> {
    /// The records, at least one.
    pub deliveries: Vec<Delivery<M>>,
}

impl<M> From<Vec<Delivery<M>>> for Batch<M> {
    fn from(deliveries: Vec<Delivery<M>>) -> Self {
        Self { deliveries }
    }
}

/// What became of one record.
#[derive(Debug)]
pub enum Outcome {
    /// It had its effect, or has none.
    Done,
    /// The world may be better in a moment: it is handed over again.
    Retry(HandlerError),
    /// The same record will fail again: it goes to the dead-letter topic.
    Dead(HandlerError),
}

impl Outcome {
    /// Try again, for this reason.
    pub fn retry(
        code: &'static ErrorCode,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::Retry(HandlerError::transient(code, source))
    }

    /// Give it up, for this reason.
    pub fn dead(code: &'static ErrorCode, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Dead(HandlerError::permanent(code, source))
    }
}

/// The error's class decides between trying again and giving up.
impl<E: Into<HandlerError>> From<Result<(), E>> for Outcome {
    fn from(result: Result<(), E>) -> Self {
        match result.map_err(Into::into) {
            Ok(()) => Self::Done,
            Err(error) if error.class == Class::Transient => Self::Retry(error),
            Err(error) => Self::Dead(error),
        }
    }
}

/// What became of a batch: one outcome for all its records, or one for each.
#[derive(Debug)]
pub struct Outcomes(pub(crate) Settled);

#[derive(Debug)]
pub(crate) enum Settled {
    All(Outcome),
    Each(Vec<Outcome>),
}

impl Outcomes {
    /// The same for every record, as of a transaction that took all or none. After a failure of several records
    /// they are handed over one by one, so that one bad record doesn't speak for the others.
    #[must_use]
    pub fn all(outcome: Outcome) -> Self {
        Self(Settled::All(outcome))
    }

    /// One for each record, in the order of the deliveries.
    #[must_use]
    pub fn each(outcomes: Vec<Outcome>) -> Self {
        Self(Settled::Each(outcomes))
    }
}

impl From<Outcome> for Outcomes {
    fn from(outcome: Outcome) -> Self {
        Self::all(outcome)
    }
}

impl<E: Into<HandlerError>> From<Result<(), E>> for Outcomes {
    fn from(result: Result<(), E>) -> Self {
        Self::all(result.into())
    }
}

/// Makes a handler of an async function that takes one record at a time.
pub fn each<M, F, Fut, O>(function: F) -> Each<M, F>
where
    M: Message,
    F: Fn(Delivery<M>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = O> + Send,
    O: Into<Outcome>,
{
    Each { function, message: PhantomData }
}

/// The handler that [`each`] makes.
pub struct Each<M, F> {
    function: F,
    message: PhantomData<fn() -> M>,
}

impl<M, F> fmt::Debug for Each<M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Each").finish_non_exhaustive()
    }
}

impl<M, F, Fut, O> Handler for Each<M, F>
where
    M: Message,
    F: Fn(Delivery<M>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = O> + Send,
    O: Into<Outcome>,
{
    type Message = M;

    async fn handle(&self, batch: Batch<M>) -> Outcomes {
        let mut deliveries = batch.deliveries.into_iter();
        let Some(delivery) = deliveries.next() else {
            return Outcomes::all(Outcome::Done);
        };
        debug_assert!(deliveries.len() == 0, "one record at a time was asked for");
        Outcomes::all((self.function)(delivery).await.into())
    }

    fn batch_records_max(&self) -> Option<usize> {
        Some(1)
    }
}

/// Why a record did not settle, and whether trying again can help.
#[derive(Debug)]
pub struct HandlerError {
    pub(crate) class: Class,
    pub(crate) code: &'static ErrorCode,
    pub(crate) source: Box<dyn Error + Send + Sync>,
}

impl HandlerError {
    /// The world may be better in a moment: the record is tried again.
    pub fn transient(
        code: &'static ErrorCode,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { class: Class::Transient, code, source: source.into() }
    }

    /// The same record will fail again: it goes to the dead-letter topic.
    pub fn permanent(
        code: &'static ErrorCode,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { class: Class::Permanent, code, source: source.into() }
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The stable code that a dead letter carries.
    #[must_use]
    pub fn code(&self) -> &'static ErrorCode {
        self.code
    }
}

impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handling failed ({}, {})", self.code.code, self.class.as_str())
    }
}

// `HandlerError` is deliberately no `std::error::Error`: that makes room for the conversion below, as in anyhow.
impl<E: Classify + Error + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self { class: error.class(), code: &codes::HANDLER_FAILED, source: Box::new(error) }
    }
}
