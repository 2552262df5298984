//! A batch taken apart: what can be handed over, what can't, and what each record came to.

use std::collections::BTreeMap;

use millrace_envelope::TraceContext;
use tracing::Span;

use super::super::failure::Failure;
use super::super::identity::Identity;
use super::super::lanes::{Item, LaneId};
use super::super::reading::{Reading, read};
use super::super::schedule::Work;
use crate::handler::{Outcomes, Settled};
use crate::message::RawRecord;
use crate::{Delivery, Message, Outcome, codes};

/// One record of a lane and what is known of it before the call.
struct Place {
    lane: LaneId,
    item: Item<RawRecord>,
    what: What,
}

enum What {
    /// It stands at this place among the deliveries.
    Delivered(Span),
    Skipped,
    Unreadable(Failure, Span),
    /// It stands behind a record of its lane that goes no further.
    Behind,
}

pub(super) struct Split<M> {
    pub(super) deliveries: Vec<Delivery<M>>,
    pub(super) created_in: Vec<TraceContext>,
    pub(super) skipped: u64,
    places: Vec<Place>,
}

/// A lane's records in order, each with what it came to.
pub(super) struct LaneSteps {
    pub(super) id: LaneId,
    pub(super) steps: Vec<Step>,
}

pub(super) struct Step {
    pub(super) item: Item<RawRecord>,
    pub(super) result: StepResult,
}

pub(super) enum StepResult {
    /// With the span that it was handled in; none when it was skipped.
    Done(Option<Span>),
    Failed(Failure, Span),
    /// Not looked at, or not to be judged by its batch.
    Untouched,
}

pub(super) struct Results {
    pub(super) lanes: Vec<LaneSteps>,
    pub(super) stale_epoch: bool,
}

/// Reads the records. One that can't be read keeps those behind it in its lane out of the call.
pub(super) fn split<M: Message>(
    identity: &Identity,
    work: &Work<RawRecord>,
    items: Vec<(LaneId, Item<RawRecord>)>,
) -> Split<M> {
    let mut split =
        Split { deliveries: Vec::new(), created_in: Vec::new(), skipped: 0, places: Vec::new() };
    let mut ended = Vec::new();
    for (lane, item) in items {
        let what = if ended.contains(&lane) {
            What::Behind
        } else {
            match read::<M>(identity, work.tenure, &item, work.epoch) {
                Reading::Message(delivery, created_in) => {
                    let span = delivery.span.clone();
                    split.deliveries.push(delivery);
                    split.created_in.push(created_in);
                    What::Delivered(span)
                }
                Reading::Skip => {
                    split.skipped += 1;
                    What::Skipped
                }
                Reading::Unreadable(failure, span) => {
                    ended.push(lane);
                    What::Unreadable(failure, span)
                }
            }
        };
        split.places.push(Place { lane, item, what });
    }
    split
}

impl<M> Split<M> {
    /// Lays the handler's outcomes beside the records.
    pub(super) fn results(self, outcomes: Outcomes, identity: &Identity) -> Results {
        let delivered =
            self.places.iter().filter(|place| matches!(place.what, What::Delivered(_))).count();
        let mut outcomes = verdicts(outcomes, delivered, identity).into_iter();
        let mut lanes: BTreeMap<LaneId, Vec<Step>> = BTreeMap::new();
        let mut stale_epoch = false;
        for Place { lane, mut item, what } in self.places {
            let result = match what {
                What::Skipped => StepResult::Done(None),
                What::Behind => StepResult::Untouched,
                What::Unreadable(failure, span) => StepResult::Failed(failure, span),
                What::Delivered(span) => match outcomes.next() {
                    Some(Verdict::Done) => StepResult::Done(Some(span)),
                    Some(Verdict::Failed(failure)) => {
                        stale_epoch |= failure.code == &codes::STALE_EPOCH;
                        StepResult::Failed(failure, span)
                    }
                    Some(Verdict::Alone) | None => {
                        item.alone = true;
                        StepResult::Untouched
                    }
                },
            };
            lanes.entry(lane).or_default().push(Step { item, result });
        }
        let lanes = lanes.into_iter().map(|(id, steps)| LaneSteps { id, steps }).collect();
        Results { lanes, stale_epoch }
    }
}

enum Verdict {
    Done,
    Failed(Failure),
    /// The batch failed as a whole: the record is handed over alone.
    Alone,
}

fn verdicts(outcomes: Outcomes, delivered: usize, identity: &Identity) -> Vec<Verdict> {
    let of = |outcome: Outcome| match outcome {
        Outcome::Done => Verdict::Done,
        Outcome::Retry(error) | Outcome::Dead(error) => Verdict::Failed(Failure::of(&error)),
    };
    match outcomes.0 {
        Settled::Each(each) if each.len() == delivered => each.into_iter().map(of).collect(),
        Settled::Each(each) => {
            tracing::error!(
                group = identity.group,
                outcomes = each.len(),
                records = delivered,
                "a handler gave another number of outcomes than it had records; they are handed over one by one"
            );
            (0..delivered).map(|_| Verdict::Alone).collect()
        }
        Settled::All(Outcome::Done) => (0..delivered).map(|_| Verdict::Done).collect(),
        Settled::All(outcome) if delivered == 1 => vec![of(outcome)],
        Settled::All(Outcome::Retry(error) | Outcome::Dead(error)) => {
            let failure = Failure::of(&error);
            tracing::debug!(
                group = identity.group,
                code = failure.code.code,
                reason = failure.chain,
                "batch failed; its records are handed over one by one"
            );
            (0..delivered).map(|_| Verdict::Alone).collect()
        }
    }
}
