//! What an application writes to do a task's work, and how it says that the work failed.

use std::error::Error;
use std::fmt;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use millrace_resilience::{Class, Classify};

use crate::run::TaskRun;

/// Does the work of a task's occurrences.
///
/// Write through [`TaskRun::begin`] and end with [`TaskRun::finish`]: then the effect and the occurrence's end commit
/// together, and the effect happens once. A handler that returns without `finish` has its occurrence ended after
/// it; a crash in between repeats the work. The future may be dropped at an await point: when the process stops, when
/// somebody takes over, when the occurrence was terminated or its time is up. What it had not committed must not count.
pub trait TaskHandler: Send + Sync + 'static {
    /// One attempt.
    fn run(&self, run: TaskRun) -> impl Future<Output = Result<(), TaskError>> + Send;
}

impl<F, Fut> TaskHandler for F
where
    F: Fn(TaskRun) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), TaskError>> + Send,
{
    fn run(&self, run: TaskRun) -> impl Future<Output = Result<(), TaskError>> + Send {
        self(run)
    }
}

/// Why an attempt failed, and whether another can help.
#[derive(Debug)]
pub struct TaskError {
    class: Class,
    source: Box<dyn Error + Send + Sync>,
}

impl TaskError {
    /// The world may be better in a moment: it is tried again while attempts are left.
    pub fn transient(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { class: Class::Transient, source: source.into() }
    }

    /// The same attempt will fail again: the occurrence has failed.
    pub fn permanent(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { class: Class::Permanent, source: source.into() }
    }

    /// Whether another attempt can help.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The reason.
    #[must_use]
    pub fn source(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.source
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the attempt failed ({})", self.class.as_str())
    }
}

// `TaskError` is deliberately no `std::error::Error`: that makes room for the conversion below, as in anyhow.
impl<E: Classify + Error + Send + Sync + 'static> From<E> for TaskError {
    fn from(error: E) -> Self {
        Self { class: error.class(), source: Box::new(error) }
    }
}

/// A handler whose type is forgotten, so that one worker has many.
pub(crate) trait AnyHandler: Send + Sync {
    fn run(&self, run: TaskRun) -> BoxFuture<'_, Result<(), TaskError>>;
}

impl<H: TaskHandler> AnyHandler for H {
    fn run(&self, run: TaskRun) -> BoxFuture<'_, Result<(), TaskError>> {
        TaskHandler::run(self, run).boxed()
    }
}
