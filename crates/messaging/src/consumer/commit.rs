//! What is asked of the coordinator, one thing at a time, on a thread of its own.
//!
//! The Rust client never calls back for an asynchronous commit that was asked for by hand (librdkafka posts that
//! event only for a callback the Rust client doesn't install), so nobody would learn whether it was taken. The
//! synchronous form tells, and blocks for as long as the coordinator likes: it runs as an errand.
//! One at a time, because two open commits could arrive in the other order and set the group back. That holds for
//! the transactions that carry letters, too: they commit offsets of the same group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_runtime::sabotage::{CrashPoint, crash_point};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::identity::Identity;
use super::offsets::CommitPoint;
use super::rebalance::CallbackContext;
use super::schedule::Tenure;
use super::transaction::{
    LetterError, LetterWriter, Membership, OutgoingLetter, Resolved, StepError,
};
use crate::client::ClientError;

/// The least between two commits, also when a drain hurries.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// One partition's offset and map, and the version of the tracker that they came from.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) tenure: Tenure,
    pub(super) version: u64,
    pub(super) commit: CommitPoint,
}

#[derive(Debug)]
pub(super) enum Question {
    Commit(Vec<Point>),
    /// Letters, and the offsets of the records they come from, in one transaction.
    Publish {
        membership: Membership,
        letters: Vec<OutgoingLetter>,
        points: Vec<Point>,
        bound: Duration,
    },
    /// What became of a transaction whose end was not answered.
    Resolve {
        bound: Duration,
    },
}

#[derive(Debug)]
pub(super) enum Answer {
    Commit(Vec<Point>, KafkaResult<()>),
    Publish(Result<(), LetterError>),
    Resolve(Result<Resolved, LetterError>),
}

/// Does what is asked; blocks.
pub(super) struct Committer {
    pub(super) consumer: Arc<BaseConsumer<CallbackContext>>,
    pub(super) identity: Arc<Identity>,
    pub(super) writer: LetterWriter,
}

impl Committer {
    pub(super) fn run(&mut self, question: Question) -> Answer {
        match question {
            Question::Commit(points) => {
                crash_point(CrashPoint::BeforeOffsetCommit);
                let taken = self
                    .list(&points)
                    .and_then(|list| self.consumer.commit(&list, CommitMode::Sync));
                crash_point(CrashPoint::AfterOffsetCommit);
                Answer::Commit(points, taken)
            }
            Question::Publish { membership, letters, points, bound } => {
                let list = match self.list(&points) {
                    Ok(list) => list,
                    Err(error) => {
                        let (step, cause) = ("list the offsets", ClientError(error));
                        return Answer::Publish(Err(LetterError::Retry(StepError { step, cause })));
                    }
                };
                Answer::Publish(self.writer.publish(
                    &self.consumer,
                    &membership,
                    &letters,
                    &list,
                    bound,
                ))
            }
            Question::Resolve { bound } => {
                Answer::Resolve(self.writer.resolve(&self.consumer, bound))
            }
        }
    }

    fn list(&self, points: &[Point]) -> KafkaResult<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(points.len());
        for Point { tenure, commit, .. } in points {
            let topic = &self.identity.source(tenure.slot).broker_topic;
            let mut element = list.add_partition(topic, tenure.slot.partition);
            element.set_offset(Offset::Offset(commit.offset))?;
            element.set_metadata(commit.metadata.as_str());
        }
        Ok(list)
    }
}

/// When to commit, and what the last commits came to.
#[derive(Debug)]
pub(super) struct Commits {
    interval: Duration,
    answered_at: Instant,
    failing: bool,
    /// By partition, the version that the broker has.
    committed: BTreeMap<Tenure, u64>,
}

impl Commits {
    pub(super) fn new(interval: Duration) -> Self {
        let (answered_at, committed) = (Instant::now(), BTreeMap::new());
        Self { interval, answered_at, failing: false, committed }
    }

    /// True when a commit may be asked for: each interval, and sooner when a drain hurries.
    pub(super) fn due(&self, now: Instant, hurry: bool) -> bool {
        let pause = if hurry { PAUSE_MIN } else { self.interval };
        now.saturating_duration_since(self.answered_at) >= pause
    }

    pub(super) fn version(&self, tenure: Tenure) -> Option<u64> {
        self.committed.get(&tenure).copied()
    }

    pub(super) fn forget(&mut self, tenure: Tenure) {
        self.committed.remove(&tenure);
    }

    /// Takes the answer; a failure is told once per change, and what is still owned is committed the next time.
    /// True when this member was refused: it is not, or no longer, in the group.
    pub(super) fn answered(
        &mut self,
        points: &[Point],
        taken: KafkaResult<()>,
        identity: &Identity,
    ) -> bool {
        self.answered_at = Instant::now();
        let (group, topic) = (identity.group, identity.origin.as_str());
        match taken {
            Ok(()) => {
                for Point { tenure, version, .. } in points {
                    self.committed.insert(*tenure, *version);
                }
                if self.failing {
                    tracing::info!(group, topic, "offsets are committed again");
                }
                self.failing = false;
                false
            }
            Err(error) if refused(&error) => {
                tracing::debug!(group, topic, %error, "offsets were not committed in a rebalance");
                true
            }
            Err(error) => {
                if !self.failing {
                    tracing::warn!(group, topic, %error, "offsets were not committed; tried again");
                }
                self.failing = true;
                false
            }
        }
    }
}

/// The group says that this member, or its view of the group, is out of date.
fn refused(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::AssignmentLost
                | RDKafkaErrorCode::StaleMemberEpoch
                | RDKafkaErrorCode::FencedMemberEpoch
                | RDKafkaErrorCode::FencedInstanceId
        )
    )
}
