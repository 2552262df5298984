//! The task that settles one partition's records, strictly in order.
//!
//! Settled means: handled, skipped, or acknowledged by the dead-letter topic. Nothing else lets the partition go on,
//! so a transient failure, or a dead-letter topic that is away, holds it here for as long as it takes.

mod bury;
mod retry;

use std::sync::Arc;

use futures::FutureExt;
use millrace_envelope::TraceContext;
use millrace_resilience::{Backoff, Class};
use millrace_runtime::{CancellationToken, Clock};
use tokio::sync::mpsc::UnboundedReceiver;
use tracing::{Instrument, Span};

use super::decode::{Decoded, batch_span, decode};
use super::failure::Failure;
use super::health::Board;
use super::identity::Identity;
use super::progress::{Phase, Progress};
use super::record::Record;
use crate::{Batch, Deliveries, Delivery, Handler, Producer, metrics};
use retry::Retry;

pub(super) struct Worker<H: Handler> {
    pub(super) identity: Arc<Identity>,
    pub(super) handler: Arc<H>,
    pub(super) producer: Producer,
    pub(super) progress: Arc<Progress>,
    pub(super) board: Arc<Board>,
    pub(super) backoff: Backoff,
    pub(super) batch_records_max: usize,
    pub(super) batch_bytes_max: usize,
    pub(super) message_bytes_max: u64,
    /// Start nothing more; what runs may finish.
    pub(super) finish: CancellationToken,
    /// End now; what runs is dropped.
    pub(super) abandon: CancellationToken,
}

/// The worker was told to end before the work at hand was settled.
struct Ended;

impl<H: Handler> Worker<H> {
    pub(super) async fn run(self, mut inbox: UnboundedReceiver<Vec<Record>>) {
        let _end = EndMark(Arc::clone(&self.progress));
        let mut backlog = Vec::new().into_iter();
        loop {
            if self.finish.is_cancelled() {
                return;
            }
            let batch = self.next_batch(&mut backlog);
            if !batch.is_empty() {
                if self.settle(batch).await.is_err() {
                    return;
                }
                continue;
            }
            self.progress.enter(Phase::Idle);
            tokio::select! {
                biased;
                () = self.finish.cancelled() => return,
                () = self.abandon.cancelled() => return,
                received = inbox.recv() => match received {
                    Some(records) => backlog = records.into_iter(),
                    None => return,
                },
            }
        }
    }

    /// The next records, as many as may be handed over at once; one that is larger than the bound goes alone.
    fn next_batch(&self, backlog: &mut std::vec::IntoIter<Record>) -> Vec<Record> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(next) = backlog.as_slice().first() {
            let full =
                batch.len() >= self.batch_records_max || bytes + next.bytes > self.batch_bytes_max;
            if full && !batch.is_empty() {
                break;
            }
            bytes += next.bytes;
            batch.extend(backlog.next());
        }
        batch
    }

    /// Settles a batch as runs of events and runs of dead records, each in its place. Skipped records don't cut a
    /// run: on a topic with many types that would hand events over singly.
    async fn settle(&self, records: Vec<Record>) -> Result<(), Ended> {
        let Some(next_offset) = records.last().map(|last| last.offset + 1) else {
            return Ok(());
        };
        let mut events = EventRun::default();
        let mut dead = Vec::new();
        for record in records {
            match decode(&self.identity, &record) {
                Decoded::Event(delivery, created_in) => {
                    self.settle_dead(std::mem::take(&mut dead)).await?;
                    events.push(record, delivery, created_in);
                }
                Decoded::Dead(failure, span) => {
                    self.settle_events(std::mem::take(&mut events)).await?;
                    dead.push(Dead { record, failure, span });
                }
                Decoded::Skip => {
                    metrics::skipped(self.identity.group, &self.identity.topic);
                    self.progress.released(1, record.bytes);
                }
            }
        }
        self.settle_dead(dead).await?;
        self.settle_events(events).await?;
        // Past what was skipped at the end.
        self.progress.settled(next_offset, 0, 0);
        Ok(())
    }

    async fn settle_events(&self, run: EventRun<H::Event>) -> Result<(), Ended> {
        let deliveries = Deliveries::from(run.deliveries);
        if run.records.len() > 1 {
            let span = batch_span(&self.identity, &run.created_in);
            let Err(failure) = self.hand_over(deliveries.clone(), span.clone()).await? else {
                self.handled(&run.records);
                return Ok(());
            };
            tracing::debug!(parent: &span, code = failure.code.code, reason = failure.chain,
                "batch failed; its records are handed over one by one");
        }
        for (index, record) in run.records.iter().enumerate() {
            self.go_on()?;
            self.settle_one(record, &deliveries.only(index)).await?;
        }
        Ok(())
    }

    /// Hands over one record until it is done or given up.
    async fn settle_one(&self, record: &Record, one: &Deliveries<H::Event>) -> Result<(), Ended> {
        let span = one[0].span.clone();
        let mut retry = Retry::new();
        loop {
            let Err(failure) = self.hand_over(one.clone(), span.clone()).await? else {
                retry.recovered(self, record, &span);
                self.handled(std::slice::from_ref(record));
                return Ok(());
            };
            retry.failed();
            match failure.class {
                Class::Permanent => {
                    self.bury(record, &failure, &span, retry.failures, retry.first_failure_ms)
                        .await?;
                    self.settled(std::slice::from_ref(record));
                    return Ok(());
                }
                Class::Transient => {
                    retry.log(self, record, &span, &failure);
                    metrics::retried(self.identity.group, &self.identity.topic);
                    self.wait(retry.failures).await?;
                }
            }
        }
    }

    /// One call of the handler; a panic is a failure like others.
    async fn hand_over(
        &self,
        deliveries: Deliveries<H::Event>,
        span: Span,
    ) -> Result<Result<(), Failure>, Ended> {
        self.progress.enter(Phase::Handling);
        // Called inside the future, so that a handler that panics before its first await is caught as well.
        let call = async { self.handler.handle(Batch { deliveries }).await };
        let guarded = std::panic::AssertUnwindSafe(call).catch_unwind().instrument(span.clone());
        tokio::select! {
            biased;
            () = self.abandon.cancelled() => Err(Ended),
            outcome = guarded => Ok(match outcome {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(Failure::of(&error)),
                Err(panic) => Err(Failure::of_panic(panic.as_ref())),
            }),
        }
    }

    async fn wait(&self, failures: u32) -> Result<(), Ended> {
        self.progress.enter(Phase::Retrying);
        tokio::select! {
            biased;
            () = self.finish.cancelled() => Err(Ended),
            () = self.abandon.cancelled() => Err(Ended),
            () = tokio::time::sleep(self.backoff.wait(failures)) => Ok(()),
        }
    }

    fn go_on(&self) -> Result<(), Ended> {
        if self.finish.is_cancelled() { Err(Ended) } else { Ok(()) }
    }

    fn handled(&self, records: &[Record]) {
        let Identity { group, topic, .. } = &*self.identity;
        let now_ms = Clock::system().now_ms();
        for created_ms in records.iter().filter_map(Record::timestamp_ms) {
            // Clocks of two machines may differ; a latency below zero says only that.
            let passed_ms = u32::try_from((now_ms - created_ms).max(0)).unwrap_or(u32::MAX);
            metrics::latency(topic, f64::from(passed_ms) / 1000.0);
        }
        metrics::handled(group, topic, records.len());
        self.settled(records);
    }

    fn settled(&self, records: &[Record]) {
        if let Some(last) = records.last() {
            let bytes = records.iter().map(|record| record.bytes).sum();
            self.progress.settled(last.offset + 1, records.len(), bytes);
        }
    }
}

/// Events in a row, with what belongs to each.
struct EventRun<E> {
    records: Vec<Record>,
    deliveries: Vec<Delivery<E>>,
    created_in: Vec<TraceContext>,
}

impl<E> Default for EventRun<E> {
    fn default() -> Self {
        Self { records: Vec::new(), deliveries: Vec::new(), created_in: Vec::new() }
    }
}

impl<E> EventRun<E> {
    fn push(&mut self, record: Record, delivery: Delivery<E>, created_in: TraceContext) {
        self.records.push(record);
        self.deliveries.push(delivery);
        self.created_in.push(created_in);
    }
}

/// A record that can't be handed to a handler.
struct Dead {
    record: Record,
    failure: Failure,
    span: Span,
}

/// Marks the worker as ended however its task ends.
struct EndMark(Arc<Progress>);

impl Drop for EndMark {
    fn drop(&mut self) {
        self.0.enter(Phase::Ended);
    }
}
