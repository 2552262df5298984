//! Where to begin: the committed offset and the map beside it, from one answer of the broker.
//!
//! Read apart they could belong to two commits, and a map laid over another offset would skip records that nobody
//! has handled. The log's own ends are asked for as well, to tell an offset that the log no longer has.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::lineage::{Incarnation, look};
use super::offsets::{CompletedMap, decode};
use super::rebalance::{BrokerPartition, CallbackContext};
use super::watermarks::offsets_at;

/// How long the coordinator may take for one answer; it is asked again then.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The same for which topics they are. Any broker can tell, so another one is asked soon.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// Where one partition begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Beginning {
    /// The committed offset, unless the log doesn't reach it or it may be another topic's: then the log's start, which
    /// is committed in its place before long.
    pub(super) base: Option<i64>,
    pub(super) completed: CompletedMap,
    /// What is odd about it, in words for the log.
    pub(super) oddity: Option<Oddity>,
    /// Which of the topics of that name it was asked of.
    pub(super) incarnation: Incarnation,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Oddity {
    /// The map beside the offset is not ours or is damaged; it is ignored.
    Map(String),
    /// Records up to here were deleted before this group read them.
    Deleted { from: i64, to: i64 },
    /// The committed offset lies behind the end of the log, which was made anew or cut.
    Ahead { committed: i64, end: i64 },
    /// The topic was made again a short while ago, and the offset may be that of the one before.
    MadeAgain { committed: i64 },
}

pub(super) type Beginnings = BTreeMap<BrokerPartition, Beginning>;

/// Asks the broker; blocks.
pub(super) fn ask(
    consumer: &BaseConsumer<CallbackContext>,
    partitions: &[BrokerPartition],
) -> KafkaResult<Beginnings> {
    if partitions.is_empty() {
        // A member without partitions is told so, and the client refuses the question about none.
        return Ok(Beginnings::new());
    }
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    let lineage = &consumer.context().identity().lineage;
    look(consumer, partitions.iter().map(|(topic, _)| topic.as_str()), LOOK_TIMEOUT)?;
    // What is asked from here on may be told of a topic that comes after these, and is void when it is heard of.
    let topics: BTreeMap<&str, Incarnation> =
        partitions.iter().map(|(topic, _)| (topic.as_str(), lineage.incarnation(topic))).collect();
    let committed = consumer.committed_offsets(list, ANSWER_TIMEOUT)?;
    // The ends only tell what is odd about an offset. A partition without a leader has none to tell, and must not keep
    // this member from taking all others.
    let end = |place| {
        offsets_at(consumer, partitions, place).unwrap_or_else(|error| {
            tracing::debug!(%error, "the ends of the logs were not told");
            BTreeMap::new()
        })
    };
    let (starts, ends) = (end(Offset::Beginning), end(Offset::End));
    let mut beginnings = Beginnings::new();
    for element in committed.elements() {
        element.error()?;
        let place = (element.topic().to_owned(), element.partition());
        // The client panics on metadata that isn't UTF-8, which any tool may have written.
        let metadata = catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned()));
        // Logical offsets (none committed, say) are negative on the wire.
        let offset = element.offset().to_raw().filter(|raw| *raw >= 0);
        let log = (starts.get(&place).copied(), ends.get(&place).copied());
        let incarnation = topics.get(place.0.as_str()).copied().unwrap_or_default();
        let doubtful = lineage.doubtful(&place.0, place.1, Instant::now());
        if doubtful && offset.is_some() && log.0.is_none() {
            // Neither the offset nor the beginning can be taken; asked again.
            return Err(KafkaError::OffsetFetch(RDKafkaErrorCode::LeaderNotAvailable));
        }
        let beginning = beginning(offset, metadata.ok().as_deref(), log, doubtful);
        beginnings.insert(place, Beginning { incarnation, ..beginning });
    }
    Ok(beginnings)
}

/// What the three answers come to.
fn beginning(
    committed: Option<i64>,
    metadata: Option<&str>,
    (start, end): (Option<i64>, Option<i64>),
    doubtful: bool,
) -> Beginning {
    let (none, incarnation) = (CompletedMap::default(), 0);
    let Some(base) = committed else {
        return Beginning { base: None, completed: none, oddity: None, incarnation };
    };
    if doubtful {
        let oddity = Some(Oddity::MadeAgain { committed: base });
        return Beginning { base: start, completed: none, oddity, incarnation };
    }
    if let Some(end) = end.filter(|end| base > *end) {
        let oddity = Some(Oddity::Ahead { committed: base, end });
        return Beginning { base: start, completed: none, oddity, incarnation };
    }
    let (completed, torn) = match metadata.map(|text| decode(base, text)) {
        Some(Ok(map)) => match end.filter(|end| map.end() > *end) {
            // Written for a log that was longer: other records bear, or will bear, the offsets it names.
            Some(end) => {
                let reason =
                    format!("it names offsets up to {}, and the log ends at {end}", map.end());
                (none, Some(Oddity::Map(reason)))
            }
            None => (map, None),
        },
        Some(Err(error)) => (none, Some(Oddity::Map(error.to_string()))),
        None => (none, Some(Oddity::Map("it is no text".to_owned()))),
    };
    let deleted = start.filter(|start| base < *start).map(|to| Oddity::Deleted { from: base, to });
    Beginning { base: Some(base), completed, oddity: deleted.or(torn), incarnation }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: (Option<i64>, Option<i64>) = (Some(0), Some(100));

    #[test]
    fn damaged_metadata_never_moves_an_offset() {
        for metadata in [Some("not ours"), Some("\u{0}"), Some("="), None] {
            let beginning = beginning(Some(7), metadata, LOG, false);
            assert_eq!((beginning.base, beginning.completed), (Some(7), CompletedMap::default()));
            assert!(matches!(beginning.oddity, Some(Oddity::Map(_))), "{metadata:?}");
        }
        assert_eq!(beginning(Some(7), Some(""), LOG, false).oddity, None);
    }

    #[test]
    fn a_map_of_a_log_that_was_longer_is_void() {
        // 101 of base 100 is finished, so the map ends at 102.
        let map = Some("ZQAAAAEAAAAB");
        for (end, void) in [(Some(101), true), (Some(102), false), (None, false)] {
            let beginning = beginning(Some(100), map, (Some(0), end), false);
            assert_eq!(beginning.base, Some(100), "the offset itself stands");
            assert_eq!(beginning.completed == CompletedMap::default(), void, "{end:?}");
            assert_eq!(matches!(beginning.oddity, Some(Oddity::Map(_))), void, "{end:?}");
        }
    }

    #[test]
    fn an_offset_that_the_log_does_not_have_is_told() {
        let ahead = beginning(Some(101), Some(""), LOG, false);
        assert_eq!(
            (ahead.base, ahead.oddity),
            (Some(0), Some(Oddity::Ahead { committed: 101, end: 100 }))
        );
        let deleted = beginning(Some(3), Some(""), (Some(9), Some(100)), false);
        assert_eq!(
            (deleted.base, deleted.oddity),
            (Some(3), Some(Oddity::Deleted { from: 3, to: 9 }))
        );
        assert_eq!(beginning(None, None, LOG, false).oddity, None);
    }

    #[test]
    fn an_offset_that_may_be_another_topics_gives_way_to_the_start_of_the_log() {
        let map = Some("ZQAAAAEAAAAB");
        let begun = beginning(Some(50), map, (Some(2), Some(100)), true);
        assert_eq!((begun.base, begun.completed), (Some(2), CompletedMap::default()));
        assert_eq!(begun.oddity, Some(Oddity::MadeAgain { committed: 50 }));
        assert_eq!(beginning(None, None, LOG, true).oddity, None);
    }
}
