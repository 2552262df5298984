//! Commits, one at a time.
//!
//! The Rust client never calls back for an asynchronous commit that was asked for by hand (librdkafka posts that
//! event only for a callback the Rust client doesn't install), so nobody would learn whether it was taken. The
//! synchronous form tells, and blocks for as long as the coordinator likes: it runs as an errand.
//! One at a time, because two open commits could arrive in the other order and set the group back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::identity::Identity;
use super::partition::Partition;
use super::rebalance::CallbackContext;

/// The least between two commits, also when a drain hurries.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// Offsets by partition.
pub(super) type Offsets = BTreeMap<i32, i64>;

/// What was asked for, and whether the broker took it.
pub(super) type CommitAnswer = (Offsets, KafkaResult<()>);

/// Commits; blocks.
pub(super) fn commit(
    consumer: &BaseConsumer<CallbackContext>,
    topic: &str,
    offsets: Offsets,
) -> CommitAnswer {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    let listed = offsets.iter().try_for_each(|(partition, offset)| {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))
    });
    let taken = listed.and_then(|()| consumer.commit(&list, CommitMode::Sync));
    (offsets, taken)
}

/// When to commit, and what the last commits came to.
#[derive(Debug)]
pub(super) struct Commits {
    interval: Duration,
    answered_at: Instant,
    failing: bool,
}

impl Commits {
    pub(super) fn new(interval: Duration) -> Self {
        Self { interval, answered_at: Instant::now(), failing: false }
    }

    /// What shall be committed now: nothing before the interval has passed, unless a drain hurries.
    pub(super) fn due(
        &self,
        partitions: &BTreeMap<i32, Partition>,
        now: Instant,
        hurry: bool,
    ) -> Option<Offsets> {
        let pause = if hurry { PAUSE_MIN } else { self.interval };
        if now.saturating_duration_since(self.answered_at) < pause {
            return None;
        }
        let offsets: Offsets =
            partitions.iter().filter_map(|(number, p)| Some((*number, p.to_commit()?))).collect();
        (!offsets.is_empty()).then_some(offsets)
    }

    /// Takes the answer; a failure is told once per change, and what is still owned is committed the next time.
    pub(super) fn answered(
        &mut self,
        (offsets, taken): CommitAnswer,
        partitions: &mut BTreeMap<i32, Partition>,
        identity: &Identity,
    ) {
        self.answered_at = Instant::now();
        let Identity { group, topic, .. } = identity;
        match taken {
            Ok(()) => {
                for (number, offset) in offsets {
                    if let Some(partition) = partitions.get_mut(&number) {
                        partition.committed = partition.committed.max(Some(offset));
                    }
                }
                if self.failing {
                    tracing::info!(group, topic, "offsets are committed again");
                }
                self.failing = false;
            }
            Err(error) if expected_in_a_rebalance(&error) => {
                tracing::debug!(group, topic, %error, "offsets were not committed in a rebalance");
            }
            Err(error) if !self.failing => {
                tracing::warn!(group, topic, %error, "offsets were not committed; tried again");
                self.failing = true;
            }
            Err(_) => {}
        }
    }
}

fn expected_in_a_rebalance(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::RebalanceInProgress
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::AssignmentLost
        )
    )
}
