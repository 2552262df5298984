//! Finding out what became of a commit that nobody answered, from the offsets themselves.

use std::time::Instant;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::{Offset, TopicPartitionList};

use super::StepError;
use super::client::left;

/// What the transaction wanted to commit.
#[derive(Debug)]
pub(super) struct Doubt(Vec<Wanted>);

#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    topic: String,
    partition: i32,
    offset: Offset,
    metadata: String,
}

/// What became of a transaction that was in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::consumer) enum Resolved {
    /// Letters and offsets took effect.
    Committed,
    /// Neither did.
    Aborted,
}

impl Doubt {
    pub(super) fn of(offsets: &TopicPartitionList) -> Self {
        Self(
            offsets
                .elements()
                .iter()
                .map(|element| Wanted {
                    topic: element.topic().to_owned(),
                    partition: element.partition(),
                    offset: element.offset(),
                    metadata: element.metadata().to_owned(),
                })
                .collect(),
        )
    }

    /// Looks at what is committed. The transaction is over by now, because a client of the same id has been made
    /// ready since, and nothing else was committed of these partitions by this member, so our offsets stand there exactly if it took
    /// effect. Where another owner has gone on, the records are its business, and what is told here is unused.
    pub(super) fn settled<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
        until: Instant,
    ) -> Result<Resolved, StepError> {
        const STEP: &str = "committed offsets were not read";
        let mut asked = TopicPartitionList::with_capacity(self.0.len());
        for Wanted { topic, partition, .. } in &self.0 {
            asked.add_partition(topic, *partition);
        }
        let wait = left(until).ok_or_else(|| StepError::timed_out(STEP))?;
        let found =
            consumer.committed_offsets(asked, wait).map_err(|error| StepError::new(STEP, error))?;
        for element in found.elements() {
            element.error().map_err(|error| StepError::new(STEP, error))?;
        }
        let stands = |wanted: &Wanted| {
            let element = found.find_partition(&wanted.topic, wanted.partition);
            element.is_some_and(|element| {
                // The client panics on metadata that is no text, which ours is not: somebody else's stands there.
                let metadata =
                    std::panic::AssertUnwindSafe(|| element.metadata() == wanted.metadata);
                element.offset() == wanted.offset
                    && std::panic::catch_unwind(metadata).unwrap_or(false)
            })
        };
        let all = self.0.iter().all(stands);
        Ok(if all { Resolved::Committed } else { Resolved::Aborted })
    }
}
