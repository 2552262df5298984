//! Looks at the group's committed offsets, again and again, and notes when they change, and how long an answer took
//! that was late.
//!
//! The note carries the time of the answer: the commit is no later than that, so whatever a handler noted before its
//! end stands before it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use millrace_checker::What;
use millrace_testkit::{CommittedOffset, kafka};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::Arena;
use crate::notes::Notes;
use crate::parcel::{GROUP, PARCELS};

const INTERVAL: Duration = Duration::from_millis(50);
const ASK_LIMIT: Duration = Duration::from_secs(2);
/// An answer within this time is prompt.
const PROMPT: Duration = Duration::from_millis(100);

impl Arena<'_> {
    /// Starts the observer; it ends with the arena's token.
    pub(super) fn observe(&self) -> Result<()> {
        let notes = Notes::open(&self.notes_file("observer"), "observer")?;
        let topic = self.namespace.topic(PARCELS.as_str());
        let group = format!("{GROUP}{}", self.namespace.group_suffix);
        let client = Arc::new(client(self.stack.addresses().kafka_port, &group)?);
        let (partitions, stop) = (self.shape.partitions, self.stop.clone());
        self.tasks.spawn("observer", async move {
            let mut seen = BTreeMap::new();
            while !stop.is_cancelled() {
                let (client, topic, asked) = (Arc::clone(&client), topic.clone(), Instant::now());
                let answer =
                    tokio::task::spawn_blocking(move || committed(&client, &topic, partitions));
                let answer = answer.await;
                let took = asked.elapsed();
                if took > PROMPT {
                    let for_us = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
                    notes.note(What::Silent { for_us });
                }
                // A broker that is away is a part of the drill.
                if let Ok(Ok(offsets)) = answer {
                    note_changes(&notes, &mut seen, offsets);
                }
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(INTERVAL) => {}
                }
            }
        });
        Ok(())
    }
}

impl Arena<'_> {
    /// What the group has committed of a partition, with the text beside it.
    pub async fn committed_at(&self, partition: i32) -> Option<CommittedOffset> {
        let topic = self.namespace.topic(PARCELS.as_str());
        let group = format!("{GROUP}{}", self.namespace.group_suffix);
        self.stack.access().committed(&group, &topic, partition).await
    }
}

/// A client that asks about the group and never joins it.
pub(super) fn client(port: u16, group: &str) -> Result<BaseConsumer> {
    let mut config = kafka::client(port);
    config.set("group.id", group).set("enable.auto.commit", "false");
    config.create().context("creating a client")
}

/// What the group has committed, by partition.
pub(super) fn committed(
    client: &BaseConsumer,
    topic: &str,
    partitions: i32,
) -> Result<BTreeMap<i32, i64>> {
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition(topic, partition);
    }
    let list = client.committed_offsets(list, ASK_LIMIT).context("asking for offsets")?;
    let all = list.elements().into_iter();
    // Logical offsets, such as «none committed», are negative on the wire.
    Ok(all
        .filter_map(|e| Some((e.partition(), e.offset().to_raw().filter(|raw| *raw >= 0)?)))
        .collect())
}

fn note_changes(notes: &Notes, seen: &mut BTreeMap<i32, i64>, offsets: BTreeMap<i32, i64>) {
    for (partition, offset) in offsets {
        if seen.insert(partition, offset) != Some(offset) {
            notes.note(What::Committed { topic: PARCELS.to_string(), partition, offset });
        }
    }
}
