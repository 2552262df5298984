//! Which topic bears a name: one that is deleted and made again is another topic, with other records at the same offsets.
//!
//! Fetches name a topic by its id, but commits and committed offsets know the name alone, and the client goes on at the
//! position that it had in the old topic. Three things would be lost by that: the new topic's records below the old
//! position; those below an offset of the old topic that was committed while the new one was made; and those below
//! such an offset that a member reads when it takes the partition.
//!
//! The client tells the id in one place only, a line of its debug log, written in the very moment in which it begins
//! to fetch by the new id and before it does. So that line is listened to: a record that was polled while nothing new
//! had been heard is one of the topic that was known. [`look`] makes the client ask which topic it is now.
//!
//! What follows from a change: the session ends, for all it holds is the old topic's; the commit of such a thing is not
//! sent; and a committed offset found soon afterwards is not believed, since nobody can tell whose it is. The new topic
//! is then read from its beginning, until this process has committed an offset of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::types::RDKafkaRespErr;

use super::rebalance::CallbackContext;

/// For how long a committed offset may be the old topic's. Each member looks before it commits, so a late commit is one
/// that was on its way while the topic was made; the broker forgets the old topic's offsets in the background.
const DOUBT: Duration = Duration::from_secs(60);

/// How long a look before a commit may take.
const BEFORE_COMMIT: Duration = Duration::from_millis(250);
/// For how long none is taken after one that failed.
const LEFT_OUT: Duration = Duration::from_secs(10);

/// How many other topics had a name before, as far as this process has seen.
pub(super) type Incarnation = u64;

#[derive(Debug, Default)]
pub(super) struct Lineage {
    // A std mutex: held to look up or note, a few times a second.
    topics: Mutex<BTreeMap<String, Bearer>>,
    changes: AtomicU64,
    /// When looking before a commit failed last.
    failed: Mutex<Option<Instant>>,
}

/// Who bears a name now.
#[derive(Debug)]
struct Bearer {
    /// Empty while there was none yet.
    id: String,
    incarnation: Incarnation,
    since: Option<Instant>,
    /// Partitions of which this process has committed an offset.
    committed: BTreeSet<i32>,
}

impl Lineage {
    /// Takes a line of the client's debug log.
    pub(super) fn heard(&self, line: &str, now: Instant) {
        let Some((topic, id)) = told(line) else { return };
        let mut topics = self.topics();
        let Some(bearer) = topics.get_mut(topic) else {
            let (id, committed) = (id.to_owned(), BTreeSet::new());
            topics.insert(topic.to_owned(), Bearer { id, incarnation: 0, since: None, committed });
            return;
        };
        // The client forgets the id of a topic that it has nothing to do with, and tells it again.
        if bearer.id == id {
            return;
        }
        // One that was missing has no forerunner whose offsets it could have got.
        bearer.since = (!bearer.id.is_empty()).then_some(now);
        bearer.id = id.to_owned();
        bearer.incarnation += 1;
        bearer.committed.clear();
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// The broker knows no topic of this name. One that was known before may only be unknown to this broker, so its
    /// successor is told by its id alone.
    fn missing(&self, topic: &str) {
        let (id, committed) = (String::new(), BTreeSet::new());
        let nobody = Bearer { id, incarnation: 0, since: None, committed };
        self.topics().entry(topic.to_owned()).or_insert(nobody);
    }

    /// How often any of the names passed to another topic; asked after every record, so it costs one load.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn incarnation(&self, topic: &str) -> Incarnation {
        self.topics().get(topic).map_or(0, |bearer| bearer.incarnation)
    }

    /// True when a committed offset may be the old topic's.
    pub(super) fn doubtful(&self, topic: &str, partition: i32, now: Instant) -> bool {
        self.topics().get(topic).is_some_and(|bearer| {
            let fresh = bearer.since.is_some_and(|at| now.saturating_duration_since(at) < DOUBT);
            fresh && !bearer.committed.contains(&partition)
        })
    }

    /// An offset of this incarnation was committed by this process.
    pub(super) fn committed(&self, topic: &str, partition: i32, incarnation: Incarnation) {
        let mut topics = self.topics();
        if let Some(bearer) =
            topics.get_mut(topic).filter(|bearer| bearer.incarnation == incarnation)
        {
            bearer.committed.insert(partition);
        }
    }

    /// Looks before a commit, so that none of the old topic's is sent that was not on its way already. A broker that
    /// doesn't answer must not keep offsets from their coordinator, so after a failure it is left out for a while.
    pub(super) fn look_before_commit<'a>(
        &self,
        consumer: &BaseConsumer<CallbackContext>,
        topics: impl IntoIterator<Item = &'a str>,
    ) {
        let now = Instant::now();
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some_and(|at| now.saturating_duration_since(at) < LEFT_OUT) {
            return;
        }
        let failed = look(consumer, topics, BEFORE_COMMIT).err().map(|error| {
            tracing::debug!(%error, "which topics these are was not told before a commit");
            now
        });
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }

    fn topics(&self) -> MutexGuard<'_, BTreeMap<String, Bearer>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the client ask which topics bear these names; what it learns is heard before this returns. Blocks.
pub(super) fn look<'a>(
    consumer: &BaseConsumer<CallbackContext>,
    topics: impl IntoIterator<Item = &'a str>,
    bound: Duration,
) -> KafkaResult<()> {
    let names: BTreeSet<&str> = topics.into_iter().collect();
    names.into_iter().try_for_each(|name| {
        let answer = consumer.fetch_metadata(Some(name), bound)?;
        let unknown = Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);
        if answer.topics().iter().any(|topic| topic.error() == unknown) {
            consumer.context().identity().lineage.missing(name);
        }
        Ok(())
    })
}

/// The topic and its new id, if that is what the line tells.
fn told(line: &str) -> Option<(&str, &str)> {
    let (before, after) = line.split_once(" changed id from ")?;
    let (_, topic) = before.rsplit_once("Topic ")?;
    let (_, id) = after.split_once(" to ")?;
    Some((topic, id.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(lineage: &Lineage, id: &str, now: Instant) {
        let line = format!("[thrd:main]: Topic a.b-c changed id from AAAA to {id}");
        lineage.heard(&line, now);
    }

    #[test]
    fn a_name_that_passes_to_another_topic_is_a_change_and_one_told_again_is_none() {
        let (lineage, now) = (Lineage::default(), Instant::now());
        for (id, incarnation) in [("one", 0), ("one", 0), ("two", 1), ("two", 1), ("three", 2)] {
            hear(&lineage, id, now);
            assert_eq!(
                (lineage.incarnation("a.b-c"), lineage.changes()),
                (incarnation, incarnation)
            );
        }
        lineage.heard("[thrd:main]: Topic a.b-c [0] Leader 1 Epoch 0", now);
        assert_eq!((lineage.incarnation("b-c"), lineage.changes()), (0, 2));
    }

    #[test]
    fn a_topic_that_was_missing_is_another_one_and_its_offsets_are_believed() {
        let (lineage, now) = (Lineage::default(), Instant::now());
        lineage.missing("a.b-c");
        assert_eq!(lineage.changes(), 0);
        hear(&lineage, "one", now);
        assert_eq!((lineage.incarnation("a.b-c"), lineage.changes()), (1, 1));
        assert!(
            !lineage.doubtful("a.b-c", 0, now),
            "this broker may have been the last to hear of it"
        );
        lineage.missing("a.b-c");
        hear(&lineage, "one", now);
        assert_eq!(lineage.changes(), 1, "another broker still knew it");
    }

    #[test]
    fn a_committed_offset_is_doubted_after_a_change_until_one_of_the_new_topic_is_committed() {
        let (lineage, now) = (Lineage::default(), Instant::now());
        let doubtful = |partition, now| lineage.doubtful("a.b-c", partition, now);
        hear(&lineage, "one", now);
        assert!(!doubtful(0, now), "the first that is seen is taken as it is");
        hear(&lineage, "two", now);
        assert!(doubtful(0, now) && doubtful(1, now));
        lineage.committed("a.b-c", 0, 0);
        assert!(doubtful(0, now), "that was the old topic's");
        lineage.committed("a.b-c", 0, 1);
        assert!(!doubtful(0, now) && doubtful(1, now));
        assert!(!doubtful(1, now + DOUBT), "by then every member has heard");
        hear(&lineage, "three", now);
        assert!(doubtful(0, now));
    }
}
