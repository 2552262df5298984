//! Where the partitions end and where the group stands.
//!
//! The client's statistics know the end only from fetches, and a paused partition isn't fetched: its lag would
//! stand still just when it grows. So the broker is asked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::lineage::look;
use super::rebalance::{BrokerPartition, CallbackContext};

/// How long the broker may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// One partition's offsets as the broker told them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watermark {
    /// After the last record.
    pub(super) end: i64,
    /// Where the group stands: its committed offset, or the beginning when there is none.
    pub(super) base: i64,
    pub(super) asked_at: Instant,
}

pub(super) type Watermarks = BTreeMap<BrokerPartition, Watermark>;

/// Asks the broker; blocks.
pub(super) fn ask(
    consumer: &BaseConsumer<CallbackContext>,
    partitions: &[BrokerPartition],
) -> KafkaResult<Watermarks> {
    let asked_at = Instant::now();
    let sources = &consumer.context().identity().sources;
    let names = sources.iter().map(|source| source.broker_topic.as_str());
    if let Err(error) = look(consumer, names, ANSWER_TIMEOUT) {
        // Asked again the next time; the lag is told by other brokers, maybe.
        tracing::debug!(%error, "which topics these are was not told");
    }
    if partitions.is_empty() {
        // The client refuses the question about none.
        return Ok(Watermarks::new());
    }
    let ends = offsets_at(consumer, partitions, Offset::End)?;
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    let mut bases = known(&consumer.committed_offsets(list, ANSWER_TIMEOUT)?);
    let fresh: Vec<BrokerPartition> =
        partitions.iter().filter(|place| !bases.contains_key(*place)).cloned().collect();
    if !fresh.is_empty() {
        bases.extend(offsets_at(consumer, &fresh, Offset::Beginning)?);
    }
    let both = ends.into_iter().filter_map(|(place, end)| {
        let base = *bases.get(&place)?;
        Some((place, Watermark { end, base, asked_at }))
    });
    Ok(both.collect())
}

/// One end of each partition's log.
pub(super) fn offsets_at(
    consumer: &BaseConsumer<CallbackContext>,
    partitions: &[BrokerPartition],
    place: Offset,
) -> KafkaResult<BTreeMap<BrokerPartition, i64>> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        list.add_partition_offset(topic, *partition, place)?;
    }
    // The protocol takes the two ends of a partition as special timestamps, with the client's very numbers.
    Ok(known(&consumer.offsets_for_times(list, ANSWER_TIMEOUT)?))
}

fn known(list: &TopicPartitionList) -> BTreeMap<BrokerPartition, i64> {
    let offsets = list.elements().into_iter().filter_map(|element| {
        // Logical offsets (none committed, say) are negative on the wire.
        let offset = element.offset().to_raw().filter(|raw| *raw >= 0)?;
        element.error().is_ok().then(|| ((element.topic().to_owned(), element.partition()), offset))
    });
    offsets.collect()
}
