//! The handler of the messages on `tasks`: finds the task's own handler, takes the occurrence, and sees it to its end.
//!
//! ```text
//! message -> own service's? -> take (run + 1) -> handler under a TaskRun -> done | again later | failed | cancelled
//! ```
//! A message is settled however its attempt ends: what is to be tried again is dispatched anew by the dispatcher, so
//! a task that fails holds up no other one with the same key. Only when the database can't be reached is the message
//! itself handed over again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures::FutureExt as _;
use millrace_envelope::Envelope;
use millrace_messaging::{Batch, Delivery, Handler, HandlerError, Outcomes};
use millrace_outbox::StoreError;
use millrace_runtime::CancellationToken;
use millrace_telemetry::{error_chain, trace_of};
use sqlx::PgPool;
use tracing::Instrument as _;

use crate::dispatch::ScheduleWaker;
use crate::event::{TaskDue, TaskEvent};
use crate::handler::{AnyHandler, TaskError, TaskHandler};
use crate::metrics;
use crate::run::{Attempt, TaskRun};
use crate::settle::{Ended, Settler};
use crate::store::runs::{self, RunKey};
use crate::watch::{Signals, Watch};

/// How long an attempt that was asked to end may take to do so.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// The handler to give to a consumer of `tasks`. Cloning shares it.
#[derive(Clone)]
pub struct Worker(Arc<Shared>);

struct Shared {
    service: String,
    name: String,
    pool: PgPool,
    waker: ScheduleWaker,
    handlers: Vec<Entry>,
    watch: Watch,
}

/// A worker that is still given its handlers.
pub struct WorkerBuilder(Shared);

struct Entry {
    name: String,
    prefix: bool,
    handler: Arc<dyn AnyHandler>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("service", &self.0.service).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerBuilder").field("service", &self.0.service).finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker for the tasks of `service`, in whose database they are. `name` is this process's: it stands in the
    /// history. The dispatcher of the same process is woken when an occurrence ends.
    #[must_use]
    pub fn builder(
        service: impl Into<String>,
        name: impl Into<String>,
        pool: PgPool,
        waker: ScheduleWaker,
    ) -> WorkerBuilder {
        WorkerBuilder(Shared {
            service: service.into(),
            name: name.into(),
            pool,
            waker,
            handlers: Vec::new(),
            watch: Watch::default(),
        })
    }

    /// Watches over the runs until `stop`: give it a task of its own.
    pub async fn watch(self, stop: CancellationToken) {
        self.0.watch.run(self.0.pool.clone(), stop).await;
    }
}

impl WorkerBuilder {
    /// Does the work of one task.
    #[must_use]
    pub fn task(self, id: impl Into<String>, handler: impl TaskHandler) -> Self {
        self.with(id.into(), false, handler)
    }

    /// Does the work of all tasks whose names begin so, unless one has a handler of its own or a longer prefix fits.
    #[must_use]
    pub fn tasks(self, prefix: impl Into<String>, handler: impl TaskHandler) -> Self {
        self.with(prefix.into(), true, handler)
    }

    /// The worker.
    #[must_use]
    pub fn build(self) -> Worker {
        Worker(Arc::new(self.0))
    }

    fn with(mut self, name: String, prefix: bool, handler: impl TaskHandler) -> Self {
        self.0.handlers.push(Entry { name, prefix, handler: Arc::new(handler) });
        self
    }
}

impl Handler for Worker {
    type Message = Envelope<TaskEvent>;

    async fn handle(&self, batch: Batch<Self::Message>) -> Outcomes {
        let mut outcomes = Vec::with_capacity(batch.deliveries.len());
        for delivery in batch.deliveries {
            let span = delivery.span.clone();
            outcomes.push(self.0.handle(delivery).instrument(span).await.into());
        }
        Outcomes::each(outcomes)
    }

    fn batch_records_max(&self) -> Option<usize> {
        Some(1)
    }
}

impl Shared {
    async fn handle(&self, delivery: Delivery<Envelope<TaskEvent>>) -> Result<(), HandlerError> {
        let TaskEvent::Due(due) = delivery.message.payload;
        if due.service != self.service {
            metrics::DELIVERIES.with_label_values(&["foreign"]).inc();
            return Ok(());
        }
        let trace = trace_of(&delivery.span);
        let Some(key) = self.take(&due, trace.trace_id()).await.map_err(StoreError)? else {
            metrics::DELIVERIES.with_label_values(&["settled"]).inc();
            return Ok(());
        };
        metrics::DELIVERIES.with_label_values(&["taken"]).inc();
        let watched = self.watch.add(key.clone());
        let run = TaskRun::new(Attempt {
            key: key.clone(),
            attempt: due.attempt,
            payload: due.payload,
            context: delivery.context,
            pool: self.pool.clone(),
            asked_to_end: watched.signals.asked.clone(),
            finished: AtomicBool::new(false),
        });
        let ended = self.attempt(&run, &watched.signals).await;
        // What commits is the truth: a handler that finished and then failed has finished.
        let ended = if run.finished() { Ended::Finished } else { ended };
        Settler { pool: &self.pool, waker: &self.waker }.settle(&key, ended).await?;
        Ok(())
    }

    /// Makes this worker the one that works on it, unless there is nothing left to do.
    async fn take(
        &self,
        due: &TaskDue,
        trace_id: Option<&str>,
    ) -> Result<Option<RunKey>, sqlx::Error> {
        let Some(instant) = due.instant() else { return Ok(None) };
        let which = (due.task.as_str(), instant, due.attempt);
        let mut conn = self.pool.acquire().await?;
        if let Some(run) = runs::take(&mut conn, which, &self.name, trace_id).await? {
            return Ok(Some(RunKey { task: due.task.clone(), instant, run }));
        }
        if runs::end_cancelled(&mut conn, which).await? {
            metrics::OCCURRENCES.with_label_values(&["cancelled"]).inc();
            Settler { pool: &self.pool, waker: &self.waker }.nudge(&due.task).await;
        }
        Ok(None)
    }

    async fn attempt(&self, run: &TaskRun, signals: &Signals) -> Ended {
        let Some(handler) = self.handler(run.task()) else {
            // A newer release may know it.
            let unknown = format!("no handler of this release does task `{}`", run.task());
            return Ended::Failed(TaskError::transient(unknown));
        };
        let too_long = async {
            signals.asked.cancelled().await;
            tokio::time::sleep(CANCEL_GRACE).await;
        };
        let work = AssertUnwindSafe(handler.run(run.clone())).catch_unwind();
        tokio::select! {
            biased;
            () = signals.over.cancelled() => Ended::Over,
            worked = work => match worked {
                Ok(Ok(())) => Ended::Returned,
                Ok(Err(error)) => Ended::Failed(error),
                Err(panic) => {
                    let words = panic_words(panic.as_ref());
                    tracing::error!(task.id = run.task(), "the handler of task `{}` panicked", run.task());
                    Ended::Failed(TaskError::transient(format!("the handler panicked: {words}")))
                }
            },
            () = too_long => Ended::Dropped,
        }
    }

    fn handler(&self, task: &str) -> Option<&dyn AnyHandler> {
        let fits = |entry: &&Entry| match entry.prefix {
            true => task.starts_with(&entry.name),
            false => task == entry.name,
        };
        let best = self.handlers.iter().filter(fits);
        best.max_by_key(|entry| (!entry.prefix, entry.name.len())).map(|entry| &*entry.handler)
    }
}

fn panic_words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

/// An attempt's failure in words short enough for a column.
pub(crate) fn reason(error: &TaskError) -> String {
    const LENGTH_MAX: usize = 1_000;
    error_chain(error.source()).chars().filter(|letter| *letter != '\0').take(LENGTH_MAX).collect()
}
