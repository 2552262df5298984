//! Plain commits, one at a time, on a thread of their own.
//!
//! The Rust client never calls back for an asynchronous commit that was asked for by hand (librdkafka posts that
//! event only for a callback the Rust client doesn't install), so nobody would learn whether it was taken. The
//! synchronous form tells, and blocks for as long as the coordinator likes: it runs as an errand.
//! One at a time, because two open commits could arrive in the other order and set the group back. For the same
//! reason a partition whose offsets are in an open transaction is left out until that has ended; see `poll::posting`.
//!
//! The broker takes a commit from any member for any partition, so what keeps a member that was frozen from setting
//! another's partition back is its generation. The client sends the one that it has by then, perhaps a new one, in which
//! the partition is another's: offsets are sent only as the member that owned them when they were taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_runtime::sabotage::{CrashPoint, crash_point};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::identity::Identity;
use super::lineage::Incarnation;
use super::offsets::CommitPoint;
use super::rebalance::CallbackContext;
use super::schedule::Tenure;
use super::transaction::Membership;

/// The least between an answer and the next commit, also when a drain hurries.
const PAUSE_MIN: Duration = Duration::from_millis(10);
/// The same after a failure. A rebalance refuses commits for a moment, and under the classic protocol the next one may
/// begin just behind it: a whole interval more would miss the gap between them.
const PAUSE_FAILED: Duration = Duration::from_millis(25);

/// One partition's offset and map, and the version of the tracker that they came from.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) tenure: Tenure,
    pub(super) version: u64,
    pub(super) commit: CommitPoint,
    /// Which of the topics of that name it is of.
    pub(super) incarnation: Incarnation,
}

/// Offsets of partitions that are ours, and who we are.
#[derive(Debug)]
pub(super) struct Question {
    /// Taken together with the points; nobody while this member is in no group.
    pub(super) membership: Option<Membership>,
    pub(super) points: Vec<Point>,
}

/// What was asked for, and whether the coordinator took it.
pub(super) type Taken = (Vec<Point>, KafkaResult<()>);

/// Commits what it is given; blocks.
pub(super) struct Committer {
    pub(super) consumer: Arc<BaseConsumer<CallbackContext>>,
    pub(super) identity: Arc<Identity>,
}

impl Committer {
    pub(super) fn run(&self, Question { membership, points }: Question) -> Taken {
        crash_point(CrashPoint::BeforeOffsetCommit);
        let points = current(points, &self.consumer, &self.identity);
        if points.is_empty() {
            // Of a topic that is gone; the session ends for it.
            let gone = KafkaError::ConsumerCommit(RDKafkaErrorCode::UnknownTopicOrPartition);
            return (points, Err(gone));
        }
        let taken = offsets_of(&points, &self.identity).and_then(|list| {
            // Last, because the look before may take a while.
            if !membership.is_some_and(|membership| membership.lasts(&self.consumer)) {
                return Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::StaleMemberEpoch));
            }
            self.consumer.commit(&list, CommitMode::Sync)
        });
        if taken.is_ok() {
            for Point { tenure, incarnation, .. } in &points {
                let topic = &self.identity.source(tenure.slot).broker_topic;
                self.identity.lineage.committed(topic, tenure.slot.partition, *incarnation);
            }
        }
        crash_point(CrashPoint::AfterOffsetCommit);
        (points, taken)
    }
}

/// Those whose topic is still the one that they are of; blocks.
pub(super) fn current(
    mut points: Vec<Point>,
    consumer: &BaseConsumer<CallbackContext>,
    identity: &Identity,
) -> Vec<Point> {
    let topic = |point: &Point| identity.source(point.tenure.slot).broker_topic.as_str();
    identity.lineage.look_before_commit(consumer, points.iter().map(topic));
    points.retain(|point| identity.lineage.incarnation(topic(point)) == point.incarnation);
    points
}

/// The points as the client takes them.
pub(super) fn offsets_of(points: &[Point], identity: &Identity) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::with_capacity(points.len());
    for Point { tenure, commit, .. } in points {
        let topic = &identity.source(tenure.slot).broker_topic;
        let mut element = list.add_partition(topic, tenure.slot.partition);
        element.set_offset(Offset::Offset(commit.offset))?;
        element.set_metadata(commit.metadata.as_str());
    }
    Ok(list)
}

/// When to commit, and what the last commits came to.
#[derive(Debug)]
pub(super) struct Commits {
    interval: Duration,
    asked_at: Instant,
    answered_at: Instant,
    /// The last answer was a refusal or a failure.
    failed: bool,
    /// It has been said that commits fail.
    failing: bool,
    /// By partition, the version that the broker has.
    committed: BTreeMap<Tenure, u64>,
}

impl Commits {
    pub(super) fn new(interval: Duration) -> Self {
        let (now, committed) = (Instant::now(), BTreeMap::new());
        let (asked_at, answered_at) = (now, now);
        Self { interval, asked_at, answered_at, failed: false, failing: false, committed }
    }

    /// True when a commit may be asked for: each interval, and sooner when a drain hurries or the last one failed. The
    /// interval counts from question to question: what finishes while one is open must not wait for its answer, too.
    pub(super) fn due(&self, now: Instant, hurry: bool) -> bool {
        let paused = now.saturating_duration_since(self.answered_at);
        if hurry || self.failed {
            return paused >= if hurry { PAUSE_MIN } else { PAUSE_FAILED.min(self.interval) };
        }
        paused >= PAUSE_MIN && now.saturating_duration_since(self.asked_at) >= self.interval
    }

    /// A commit is asked for.
    pub(super) fn asked(&mut self, now: Instant) {
        self.asked_at = now;
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
        (self.answered_at, self.failed) = (Instant::now(), taken.is_err());
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
