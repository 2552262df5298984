//! Where the partitions end and where the group stands.
//!
//! The client's statistics know the end only from fetches, and a paused partition isn't fetched: its lag would
//! stand still just when it grows. So the broker is asked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::rebalance::CallbackContext;

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

pub(super) type Watermarks = BTreeMap<i32, Watermark>;

/// Asks the broker; blocks.
pub(super) fn ask(
    consumer: &BaseConsumer<CallbackContext>,
    topic: &str,
    partitions: &[i32],
) -> KafkaResult<Watermarks> {
    let asked_at = Instant::now();
    let ends = offsets_at(consumer, topic, partitions, Offset::End)?;
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(topic, *partition);
    }
    let mut bases = known(&consumer.committed_offsets(list, ANSWER_TIMEOUT)?);
    let fresh: Vec<i32> = partitions.iter().copied().filter(|p| !bases.contains_key(p)).collect();
    if !fresh.is_empty() {
        bases.extend(offsets_at(consumer, topic, &fresh, Offset::Beginning)?);
    }
    let both = ends.into_iter().filter_map(|(partition, end)| {
        Some((partition, Watermark { end, base: *bases.get(&partition)?, asked_at }))
    });
    Ok(both.collect())
}

fn offsets_at(
    consumer: &BaseConsumer<CallbackContext>,
    topic: &str,
    partitions: &[i32],
    place: Offset,
) -> KafkaResult<BTreeMap<i32, i64>> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition_offset(topic, *partition, place)?;
    }
    // The protocol takes the two ends of a partition as special timestamps, with the client's very numbers.
    Ok(known(&consumer.offsets_for_times(list, ANSWER_TIMEOUT)?))
}

fn known(list: &TopicPartitionList) -> BTreeMap<i32, i64> {
    let offsets = list.elements().into_iter().filter_map(|element| {
        // Logical offsets (none committed, say) are negative on the wire.
        let offset = element.offset().to_raw().filter(|raw| *raw >= 0)?;
        element.error().is_ok().then(|| (element.partition(), offset))
    });
    offsets.collect()
}
