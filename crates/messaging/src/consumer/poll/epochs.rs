//! Epochs: drawn, proved by a commit, then handed over.
//!
//! Drawing alone proves nothing: a member that was paused past its session could draw the highest number of all. Only
//! a commit that the broker accepts from this member after the draw shows that it still owns. A member that drew and
//! is refused has raised the number all the same, so the owner's next write is refused by its sink, and the owner draws
//! and commits again.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use futures::FutureExt as _;

use super::state::State;
use crate::Handler;
use crate::consumer::commit::Point;
use crate::consumer::failure::Failure;
use crate::consumer::schedule::Tenure;

/// How long the store may take for one draw; it is asked again then.
const DRAW_BOUND: Duration = Duration::from_secs(10);

type Drawn = (Tenure, Result<i64, Box<dyn std::error::Error + Send + Sync>>);

/// How far a partition's epoch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EpochState {
    /// This consumer has none.
    None,
    Wanted,
    Drawing,
    /// Drawn; a commit that is asked for from now on proves it.
    Drawn(i64),
    /// The proving commit is under way.
    Asked(i64),
    Open,
}

/// Draws that are under way, made by tasks.
#[derive(Debug)]
pub(super) struct Draws {
    told: Sender<Drawn>,
    answers: Receiver<Drawn>,
    open: usize,
    /// Why the last draw failed, until one succeeds.
    reason: Option<String>,
}

impl Draws {
    pub(super) fn new() -> Self {
        let (told, answers) = channel();
        Self { told, answers, open: 0, reason: None }
    }

    pub(super) fn any(&self) -> bool {
        self.open > 0
    }

    /// What keeps partitions closed, in words.
    pub(super) fn trouble(&self) -> Option<String> {
        self.reason.as_ref().map(|reason| format!("epochs are not drawn: {reason}"))
    }
}

impl<H: Handler> State<'_, H> {
    /// Starts draws, takes their answers.
    pub(super) fn draw_epochs(&mut self) {
        let Some(store) = &self.poll.epochs else { return };
        for tenure in self.dispatch.with(|schedule| schedule.take_stale()) {
            let owned = self.owned.get_mut(&tenure.slot).filter(|owned| owned.tenure == tenure);
            if let Some(owned) = owned {
                tracing::info!(
                    group = self.poll.identity.group,
                    partition = tenure.slot.partition,
                    "a sink refused the epoch; another one is drawn"
                );
                owned.epoch = EpochState::Wanted;
            }
        }
        while let Ok((tenure, drawn)) = self.draws.answers.try_recv() {
            self.draws.open -= 1;
            let owned = self.owned.get_mut(&tenure.slot).filter(|owned| owned.tenure == tenure);
            let Some(owned) = owned else { continue };
            owned.epoch = match drawn {
                Ok(number) => {
                    self.draws.reason = None;
                    EpochState::Drawn(number)
                }
                Err(error) => {
                    let reason = millrace_telemetry::error_chain(error.as_ref());
                    tracing::warn!(
                        group = self.poll.identity.group,
                        partition = tenure.slot.partition,
                        reason,
                        "epoch was not drawn; tried again"
                    );
                    self.draws.reason = Some(reason);
                    EpochState::Wanted
                }
            };
        }
        let identity = &self.poll.identity;
        for owned in self.owned.values_mut() {
            if owned.epoch != EpochState::Wanted || owned.leaving {
                continue;
            }
            owned.epoch = EpochState::Drawing;
            self.draws.open += 1;
            let (told, tenure) = (self.draws.told.clone(), owned.tenure);
            let (store, group) = (std::sync::Arc::clone(store), identity.consumer_group);
            let topic = identity.source(tenure.slot).topic.clone();
            let name = format!("epoch of {} {topic}/{}", identity.group, tenure.slot.partition);
            drop(self.poll.tasks.spawn(name, async move {
                // A store that panics or never answers must not keep the partition closed for ever.
                let draw = async { store.draw(group, &topic, tenure.slot.partition).await };
                let guarded = AssertUnwindSafe(draw).catch_unwind();
                let drawn = match tokio::time::timeout(DRAW_BOUND, guarded).await {
                    Ok(Ok(drawn)) => drawn,
                    Ok(Err(panic)) => Err(Failure::of_panic(panic.as_ref()).chain.into()),
                    Err(late) => Err(late.into()),
                };
                if drawn.is_err() {
                    // The store is away; the loop would ask at once.
                    tokio::time::sleep(std::time::Duration::from_millis(250)).await;
                }
                // Nobody listens when the session is over.
                drop(told.send((tenure, drawn)));
            }));
        }
    }

    /// Partitions whose epoch waits for a commit; the commit that is asked for now proves it.
    pub(super) fn prove_epochs(&mut self) -> Vec<Tenure> {
        let drawn = self.owned.values_mut().filter_map(|owned| {
            let EpochState::Drawn(number) = owned.epoch else { return None };
            if owned.leaving {
                return None;
            }
            owned.epoch = EpochState::Asked(number);
            Some(owned.tenure)
        });
        drawn.collect()
    }

    /// True while an epoch waits for its commit.
    pub(super) fn epochs_wait(&self) -> bool {
        self.owned.values().any(|owned| matches!(owned.epoch, EpochState::Drawn(_)))
    }

    /// The commit with these points was answered.
    pub(super) fn epochs_answered(&mut self, points: &[Point], accepted: bool, refused: bool) {
        for owned in self.owned.values_mut() {
            let EpochState::Asked(number) = owned.epoch else { continue };
            let proved = accepted && points.iter().any(|point| point.tenure == owned.tenure);
            owned.epoch = if proved {
                self.dispatch.with(|schedule| schedule.open(owned.tenure, number));
                EpochState::Open
            } else if refused {
                EpochState::Wanted
            } else {
                // Nothing to commit yet, or no answer: the next commit proves it.
                EpochState::Drawn(number)
            };
        }
    }
}
