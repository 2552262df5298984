//! What an application writes to handle events: one trait, what it is given, and how it says that it failed.

use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use millrace_envelope::{Envelope, ErrorCode, Event, MessageContext};
use millrace_resilience::{Class, Classify};

use crate::codes;

/// Handles the records of one consumer group on one topic.
///
/// `Ok` means that every record of the batch is done. After an `Err` for several records the runtime hands them
/// over again one by one, so a handler must be able to meet a record twice (the inbox is for that).
/// The future may be dropped at an await point when the partition is taken away; what it had not committed
/// by then must not count.
pub trait Handler: Send + Sync + 'static {
    /// The events it subscribes to; other types on the topic are skipped and counted.
    type Event: Event;

    /// Handles records of one partition, in order.
    fn handle(
        &self,
        batch: Batch<Self::Event>,
    ) -> impl Future<Output = Result<(), HandlerError>> + Send;
}

/// One record, decoded.
#[derive(Debug)]
pub struct Delivery<E> {
    /// What was sent.
    pub envelope: Envelope<E>,
    /// Ready to be handed to outbox rows: the trace is this record's process span, the cause is its envelope.
    pub context: MessageContext,
    /// The partition it came from.
    pub partition: i32,
    /// Its offset there.
    pub offset: i64,
    /// This record's process span; log lines about the record belong inside it.
    pub span: tracing::Span,
}

/// Records of one partition in order.
#[derive(Debug)]
pub struct Batch<E> {
    /// The records, at least one.
    pub deliveries: Deliveries<E>,
}

impl<E> From<Vec<Delivery<E>>> for Batch<E> {
    fn from(deliveries: Vec<Delivery<E>>) -> Self {
        Self { deliveries: deliveries.into() }
    }
}

/// A shared run of deliveries that reads as a slice; cloning shares it.
pub struct Deliveries<E> {
    all: Arc<[Delivery<E>]>,
    from: usize,
    to: usize,
}

impl<E> Deliveries<E> {
    /// The delivery at `index` as a run of its own.
    pub(crate) fn only(&self, index: usize) -> Self {
        debug_assert!(index < self.len());
        Self { all: Arc::clone(&self.all), from: self.from + index, to: self.from + index + 1 }
    }
}

impl<E> Clone for Deliveries<E> {
    fn clone(&self) -> Self {
        Self { all: Arc::clone(&self.all), from: self.from, to: self.to }
    }
}

impl<E> From<Vec<Delivery<E>>> for Deliveries<E> {
    fn from(deliveries: Vec<Delivery<E>>) -> Self {
        let to = deliveries.len();
        Self { all: deliveries.into(), from: 0, to }
    }
}

impl<E> Deref for Deliveries<E> {
    type Target = [Delivery<E>];

    fn deref(&self) -> &[Delivery<E>] {
        &self.all[self.from..self.to]
    }
}

impl<'a, E> IntoIterator for &'a Deliveries<E> {
    type Item = &'a Delivery<E>;
    type IntoIter = std::slice::Iter<'a, Delivery<E>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<E: fmt::Debug> fmt::Debug for Deliveries<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Why a handler did not finish, and whether trying again can help.
#[derive(Debug)]
pub struct HandlerError {
    pub(crate) class: Class,
    pub(crate) code: &'static ErrorCode,
    pub(crate) source: Box<dyn Error + Send + Sync>,
}

impl HandlerError {
    /// The world may be better in a moment: the record is tried again in place.
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
