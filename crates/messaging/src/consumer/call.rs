//! One call: read the records, hand them over, and say how each of them settles.
//!
//! This is the single place where an outcome becomes done, again, a retry topic or a dead letter. Everything that
//! can fail about a record fails in here, so nothing about a record can stop the consumer.

mod batch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use millrace_runtime::Clock;
use millrace_runtime::sabotage::{self, CrashPoint, Switch};
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::failure::Failure;
use super::health::Board;
use super::identity::Identity;
use super::lanes::{After, Item, LaneId};
use super::letters::Letter;
use super::meters::Meters;
use super::outbound::Outbound;
use super::reading::{Reading, batch_span, read};
use super::retry_policy::{Failed, Next, RetryPolicy};
use super::runner::RecordDispatch;
use super::schedule::{Finished, LaneEnd, Pending, Settlement, Work};
use crate::handler::{Outcomes, Settled};
use crate::letter::{DeadLetter, DeadLetterStore};
use crate::message::RawRecord;
use crate::{Batch, Delivery, Handler, Message, Outcome, codes};
use batch::split;

/// After so long a call takes no further record of its lane. What it finished counts only when it ends, and until then
/// it would come again after a crash; a pause, too, waits for it, and to the watchdog it is one call.
const RUN_TIME_MAX: Duration = Duration::from_millis(50);

pub(super) type RecordSettlement = Settlement<RawRecord, Outbound>;

pub(super) struct Caller<H: Handler> {
    pub(super) identity: Arc<Identity>,
    pub(super) handler: Arc<H>,
    pub(super) policy: RetryPolicy,
    /// Where dead letters go when the consumer has a database.
    pub(super) store: Option<Arc<dyn DeadLetterStore>>,
    pub(super) board: Arc<Board>,
    pub(super) meters: Meters,
    /// One record after the other, as its handler asks.
    pub(super) singly: bool,
}

/// What became of one record.
enum Fate {
    Finished,
    /// It goes back to its lane.
    Again {
        item: Item<RawRecord>,
        until: Instant,
    },
    /// It is finished when its letter is published.
    Letter(Box<Outbound>),
}

/// One record of a run, and what it came to.
struct One {
    record: Finished,
    fate: Fate,
    failed: Option<Refusal>,
}

/// That a record failed, for the account of the call.
#[derive(Debug, Clone, Copy)]
struct Refusal {
    stale_epoch: bool,
}

impl<H: Handler> Caller<H> {
    /// Makes the call. One that was abandoned settles nothing: its lanes stay busy in a partition that is leaving.
    pub(super) async fn call(
        &self,
        work: Work<RawRecord>,
        dispatch: &RecordDispatch,
    ) -> RecordSettlement {
        let (tenure, call, abandon) = (work.tenure, work.call, work.abandon.clone());
        tokio::select! {
            biased;
            settlement = self.settle(work, dispatch) => settlement,
            () = abandon.cancelled(), if !sabotage::on(Switch::IgnoreRevoke) => {
                Settlement::empty(tenure, call)
            }
        }
    }

    async fn settle(
        &self,
        mut work: Work<RawRecord>,
        dispatch: &RecordDispatch,
    ) -> RecordSettlement {
        let mut settlement = Settlement::empty(work.tenure, work.call);
        let items = std::mem::take(&mut work.items);
        if self.singly || items.len() == 1 {
            self.settle_singly(&work, items, &mut settlement, dispatch).await;
        } else {
            self.settle_together(&work, items, &mut settlement).await;
        }
        settlement
    }

    /// The records of one lane, each after the one before it. A record that makes the call wait first hands in those
    /// before it: what is finished counts, however long the next one takes.
    async fn settle_singly(
        &self,
        work: &Work<RawRecord>,
        items: Vec<(LaneId, Item<RawRecord>)>,
        settlement: &mut RecordSettlement,
        dispatch: &RecordDispatch,
    ) {
        let Some(lane) = items.first().map(|(lane, _)| *lane) else { return };
        debug_assert!(items.iter().all(|(other, _)| *other == lane), "singly is one lane");
        let mut end = LaneEnd { lane, returned: Vec::new(), after: After::Go };
        let mut items = items.into_iter().map(|(_, item)| item);
        let started = Instant::now();
        for item in items.by_ref() {
            if work.finish.is_cancelled() {
                end.returned.push(item);
                break;
            }
            let one = self.settle_one(work, item);
            let mut one = std::pin::pin!(one);
            let One { record, fate, failed } =
                if let Poll::Ready(one) = futures::poll!(one.as_mut()) {
                    one
                } else {
                    if !settlement.finished.is_empty() {
                        let finished = std::mem::take(&mut settlement.finished);
                        let succeeded = std::mem::take(&mut settlement.succeeded);
                        dispatch.progress(work.tenure, finished, succeeded);
                    }
                    one.await
                };
            match failed {
                None => settlement.succeeded = true,
                Some(Refusal { stale_epoch }) => {
                    settlement.failed += 1;
                    settlement.stale_epoch |= stale_epoch;
                }
            }
            let stop = self.note(lane, record, fate, &mut end, settlement);
            if stop || started.elapsed() >= RUN_TIME_MAX {
                break;
            }
        }
        end.returned.extend(items);
        settlement.lanes.push(end);
    }

    /// Writes down a record's fate; true when its lane goes no further in this call.
    fn note(
        &self,
        lane: LaneId,
        record: Finished,
        fate: Fate,
        end: &mut LaneEnd<RawRecord>,
        settlement: &mut RecordSettlement,
    ) -> bool {
        match fate {
            Fate::Finished => {
                settlement.finished.push(record);
                false
            }
            Fate::Again { item, until } => {
                end.returned.push(item);
                end.after = After::Wait(until);
                true
            }
            Fate::Letter(letter) => {
                settlement.letters.push(Pending { lane, record, letter: *letter });
                end.after = After::Hold;
                true
            }
        }
    }

    async fn settle_one(&self, work: &Work<RawRecord>, item: Item<RawRecord>) -> One {
        let record = Finished { offset: item.offset, bytes: item.bytes };
        let mut failed = None;
        let fate = match read::<H::Message>(&self.identity, work.tenure, &item, work.epoch) {
            Reading::Skip => {
                self.meters.skipped.inc();
                Fate::Finished
            }
            Reading::Unreadable(failure, span) => {
                failed = Some(Refusal { stale_epoch: false });
                self.failed(item, failure, span).await
            }
            Reading::Message(delivery, _) => {
                let span = delivery.span.clone();
                let outcomes = self.hand_over(vec![delivery], span.clone()).await;
                match single(outcomes) {
                    Ok(()) => {
                        self.handled(&item, &span);
                        Fate::Finished
                    }
                    Err(failure) => {
                        let stale_epoch = failure.code == &codes::STALE_EPOCH;
                        failed = Some(Refusal { stale_epoch });
                        self.failed(item, failure, span).await
                    }
                }
            }
        };
        One { record, fate, failed }
    }

    /// Several records in one call of the handler.
    async fn settle_together(
        &self,
        work: &Work<RawRecord>,
        items: Vec<(LaneId, Item<RawRecord>)>,
        settlement: &mut RecordSettlement,
    ) {
        let mut split = split::<H::Message>(&self.identity, work, items);
        self.meters.skipped.inc_by(split.skipped);
        let outcomes = if split.deliveries.is_empty() {
            Outcomes::each(Vec::new())
        } else {
            let deliveries = std::mem::take(&mut split.deliveries);
            let span = match deliveries.as_slice() {
                [only] => only.span.clone(),
                _ => batch_span(&self.identity, &split.created_in),
            };
            self.hand_over(deliveries, span).await
        };
        let results = split.results(outcomes, &self.identity);
        settlement.stale_epoch |= results.stale_epoch;
        for lane in results.lanes {
            let mut end = LaneEnd { lane: lane.id, returned: Vec::new(), after: After::Go };
            let mut steps = lane.steps.into_iter();
            for step in steps.by_ref() {
                let record = Finished { offset: step.item.offset, bytes: step.item.bytes };
                let fate = match step.result {
                    batch::StepResult::Done(span) => {
                        if let Some(span) = span {
                            self.handled(&step.item, &span);
                        }
                        settlement.succeeded = true;
                        Fate::Finished
                    }
                    batch::StepResult::Failed(failure, span) => {
                        settlement.failed += 1;
                        self.failed(step.item, failure, span).await
                    }
                    batch::StepResult::Untouched => {
                        end.returned.push(step.item);
                        continue;
                    }
                };
                if self.note(lane.id, record, fate, &mut end, settlement) {
                    break;
                }
            }
            for step in steps {
                // What is done behind a record that is not stays done; the rest waits behind it.
                if let batch::StepResult::Done(span) = step.result {
                    if let Some(span) = span {
                        self.handled(&step.item, &span);
                    }
                    let Item { offset, bytes, .. } = step.item;
                    settlement.succeeded = true;
                    settlement.finished.push(Finished { offset, bytes });
                } else {
                    end.returned.push(step.item);
                }
            }
            settlement.lanes.push(end);
        }
    }

    /// One call of the handler; a panic is a failure like others.
    async fn hand_over(&self, deliveries: Vec<Delivery<H::Message>>, span: Span) -> Outcomes {
        // Called inside the future, so that a handler that panics before its first await is caught as well.
        let call = async { self.handler.handle(Batch { deliveries }).await };
        let guarded = AssertUnwindSafe(call).catch_unwind().instrument(span);
        let outcomes = guarded.await.unwrap_or_else(|panic| {
            let failure = Failure::of_panic(panic.as_ref());
            Outcome::retry(failure.code, failure.message).into()
        });
        sabotage::crash_point(CrashPoint::AfterHandle);
        outcomes
    }

    /// Decides what becomes of a record that failed, and does it as far as it can be done here.
    async fn failed(&self, mut item: Item<RawRecord>, failure: Failure, span: Span) -> Fate {
        let now_ms = Clock::system().now_ms();
        item.failures = item.failures.saturating_add(1);
        if failure.code == &codes::STALE_EPOCH {
            // A word about its owner and none about the record: no policy may give it up or send it away for that.
            self.board.failed(&self.identity, &item, &failure, &span, "it waits for another epoch");
            self.meters.retried.inc();
            let wait = self.policy.backoff.wait(1);
            return Fate::Again { item, until: Instant::now() + wait };
        }
        let first_failure_ms = *item.first_failure_ms.get_or_insert(now_ms);
        let next = self.policy.next(
            self.identity.order_free,
            &Failed {
                class: failure.class,
                code: failure.code,
                attempt: item.failures,
                tier: self.identity.tier_of(&item.record),
                first_failure_ms,
                now_ms,
            },
        );
        match next {
            Next::Again { wait } => {
                self.board.failed(&self.identity, &item, &failure, &span, "it is tried again");
                self.meters.retried.inc();
                Fate::Again { item, until: Instant::now() + wait }
            }
            Next::Tier(tier) => {
                self.board.failed(
                    &self.identity,
                    &item,
                    &failure,
                    &span,
                    "it goes to a retry topic",
                );
                self.meters.retried.inc();
                let letter = Outbound::new(Letter::Tier(tier), item, failure, span, now_ms);
                Fate::Letter(Box::new(letter))
            }
            Next::Dead => {
                let letter = Outbound::new(Letter::Dead, item, failure, span, now_ms);
                self.bury(letter).await
            }
        }
    }

    /// With a store the letter is kept there and then; without one it goes with the offset of its record.
    async fn bury(&self, letter: Outbound) -> Fate {
        let Some(store) = &self.store else {
            return Fate::Letter(Box::new(letter));
        };
        let id = message_id::<H::Message>(&letter.item.record);
        let dead = DeadLetter {
            message_id: letter.message_id(&self.identity, id),
            group: self.identity.consumer_group,
            record: letter.compose(&self.identity),
        };
        // A store that panics must not take all other calls of the runner with it.
        let kept = AssertUnwindSafe(async { store.bury(dead).await }).catch_unwind();
        let kept = kept.instrument(letter.span.clone()).await;
        match kept.unwrap_or_else(|panic| Err(Failure::of_panic(panic.as_ref()).message.into())) {
            Ok(()) => {
                self.board.dead_lettered(&self.identity, &letter);
                Fate::Finished
            }
            Err(_) if sabotage::on(Switch::SettleFailedLetter) => Fate::Finished,
            Err(error) => {
                let reason = millrace_telemetry::error_chain(error.as_ref());
                tracing::error!(parent: &letter.span, group = self.identity.group, reason,
                    "dead letter was not kept; its record waits");
                let wait = self.policy.backoff.wait(letter.item.failures);
                Fate::Again { item: letter.item, until: Instant::now() + wait }
            }
        }
    }

    fn handled(&self, item: &Item<RawRecord>, span: &Span) {
        if let Some(created_ms) = item.record.timestamp_ms() {
            // Clocks of two machines may differ; a latency below zero says only that.
            let passed_ms = (Clock::system().now_ms() - created_ms).max(0);
            let passed_ms = u32::try_from(passed_ms).unwrap_or(u32::MAX);
            self.meters.latency.observe(f64::from(passed_ms) / 1000.0);
        }
        self.meters.handled.inc();
        if item.failures > 0 {
            self.board.recovered(&self.identity, item, span);
        }
    }
}

/// The outcome of a call that had one record.
fn single(outcomes: Outcomes) -> Result<(), Failure> {
    let outcome = match outcomes.0 {
        Settled::All(outcome) => outcome,
        Settled::Each(mut each) => match (each.pop(), each.is_empty()) {
            (Some(outcome), true) => outcome,
            _ => return Err(Failure::wrong_count()),
        },
    };
    match outcome {
        Outcome::Done => Ok(()),
        Outcome::Retry(error) | Outcome::Dead(error) => Err(Failure::of(&error)),
    }
}

/// The message's own id, when it can be read at all.
fn message_id<M: Message>(record: &RawRecord) -> Option<Uuid> {
    let read = AssertUnwindSafe(|| M::read(record).ok().and_then(|message| message.id()));
    catch_unwind(read).ok().flatten()
}

#[cfg(test)]
mod tests;
