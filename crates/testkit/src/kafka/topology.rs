//! Who leads a partition, who coordinates a group, and moving both.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

use super::access::KafkaAccess;
use super::wire::{self, Api, Reader, Writer};
use crate::wait::try_wait_until;

const MOVE_LIMIT: Duration = Duration::from_secs(20);
const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// What a coordinator looks after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coordinates {
    Group = 0,
    Transaction = 1,
}

/// A partition as the controller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    /// The broker that leads it; -1 when nobody does.
    pub leader: i32,
    /// The brokers that should hold it, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Those of them that hold everything.
    pub in_sync: Vec<i32>,
}

/// What one broker knows of the cluster.
#[derive(Debug)]
struct View {
    brokers: BTreeMap<i32, String>,
    topics: BTreeMap<String, BTreeMap<i32, PartitionState>>,
}

impl KafkaAccess {
    /// The ids of the brokers that are in the cluster now.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn broker_ids(&self) -> Result<Vec<i32>> {
        Ok(self.view(Some(&[])).await?.brokers.into_keys().collect())
    }

    /// The partitions of a topic; `topic` is the full name.
    ///
    /// # Errors
    /// When no broker answers or knows the topic.
    pub async fn partitions(&self, topic: &str) -> Result<BTreeMap<i32, PartitionState>> {
        let mut view = self.view(Some(&[topic])).await?;
        view.topics.remove(topic).with_context(|| format!("there is no topic {topic}"))
    }

    /// The id of the broker that leads the partition.
    ///
    /// # Panics
    /// When nobody leads it for twenty seconds.
    pub async fn leader_of(&self, topic: &str, partition: i32) -> i32 {
        let found = try_wait_until(MOVE_LIMIT, || async {
            let partitions = self.partitions(topic).await.map_err(|error| format!("{error:#}"))?;
            let leader = partitions.get(&partition).map(|state| state.leader);
            leader.filter(|leader| *leader >= 0).ok_or_else(|| format!("{partitions:?}"))
        });
        found.await.unwrap_or_else(|last| panic!("nobody leads {topic}/{partition}: {last}"))
    }

    /// The id of the broker that coordinates the group.
    ///
    /// # Panics
    /// When nobody does for twenty seconds.
    pub async fn coordinator_of(&self, group: &str) -> i32 {
        self.coordinator(Coordinates::Group, group)
            .await
            .unwrap_or_else(|last| panic!("nobody coordinates {group}: {last}"))
    }

    /// Makes `broker` the leader of the partition, without a fault: it becomes the preferred one and is elected.
    ///
    /// # Errors
    /// When it is not a replica, or the controller refuses for twenty seconds.
    pub async fn move_leader(&self, topic: &str, partition: i32, broker: i32) -> Result<()> {
        let state =
            self.partitions(topic).await?.remove(&partition).context("no such partition")?;
        anyhow::ensure!(state.replicas.contains(&broker), "{broker} is no replica: {state:?}");
        let others = state.replicas.iter().copied().filter(|replica| *replica != broker);
        let order: Vec<i32> = std::iter::once(broker).chain(others).collect();
        self.reorder_replicas(topic, partition, &order).await?;
        try_wait_until(MOVE_LIMIT, || async {
            self.elect_preferred(topic, partition).await.map_err(|error| format!("{error:#}"))?;
            let partitions = self.partitions(topic).await.map_err(|error| format!("{error:#}"))?;
            let state = partitions.get(&partition).ok_or("the partition is gone")?;
            if state.leader == broker { Ok(()) } else { Err(format!("{state:?}")) }
        })
        .await
        .map_err(|last| anyhow::anyhow!("{topic}/{partition} did not move to {broker}: {last}"))
    }

    /// Makes `broker` the coordinator of the group: it is whoever leads the group's partition of the offsets topic.
    ///
    /// # Errors
    /// As [`KafkaAccess::move_leader`].
    pub async fn move_coordinator(&self, group: &str, broker: i32) -> Result<()> {
        let count = self.partitions(OFFSETS_TOPIC).await?.len();
        let count = i32::try_from(count).context("too many partitions")?;
        let partition = (java_hash(group) & i32::MAX) % count.max(1);
        self.move_leader(OFFSETS_TOPIC, partition, broker).await
    }

    /// Makes the broker create its internal topics now: the first group and transaction would else wait for it.
    pub(crate) async fn warm_up(&self) -> Result<()> {
        for what in [Coordinates::Group, Coordinates::Transaction] {
            let found = self.coordinator(what, "testkit-warm-up").await;
            found.map_err(|last| anyhow::anyhow!("no coordinator for a {what:?}: {last}"))?;
        }
        Ok(())
    }

    /// Waits until every partition of every topic is led and held by all its replicas, and `brokers` are there.
    pub(crate) async fn wait_in_sync(&self, brokers: usize, limit: Duration) -> Result<()> {
        try_wait_until(limit, || async {
            let view = self.view(None).await.map_err(|error| format!("{error:#}"))?;
            if view.brokers.len() < brokers {
                return Err(format!("only {:?} are there", view.brokers));
            }
            let behind = view.topics.iter().find_map(|(topic, partitions)| {
                let behind = partitions.iter().find(|(_, state)| {
                    state.leader < 0 || state.in_sync.len() < state.replicas.len()
                });
                behind.map(|(partition, state)| format!("{topic}/{partition}: {state:?}"))
            });
            behind.map_or(Ok(()), Err)
        })
        .await
        .map_err(|last| anyhow::anyhow!("the replicas are not in sync: {last}"))
    }

    pub(super) async fn address_of(&self, broker: i32) -> Result<String> {
        let mut view = self.view(Some(&[])).await?;
        view.brokers.remove(&broker).with_context(|| format!("broker {broker} is not there"))
    }

    /// The address of the partition's leader.
    pub(super) async fn leader_address(&self, topic: &str, partition: i32) -> Result<String> {
        self.address_of(self.leader_of(topic, partition).await).await
    }

    /// The address of the group's coordinator.
    pub(super) async fn coordinator_address(&self, group: &str) -> Result<String> {
        self.address_of(self.coordinator_of(group).await).await
    }

    async fn coordinator(&self, what: Coordinates, key: &str) -> Result<i32, String> {
        try_wait_until(MOVE_LIMIT, || async {
            let mut body = Writer::default();
            body.text(key).i8(what as i8);
            let found = async {
                let mut answer = self.ask_any(Api::FIND_COORDINATOR, body).await?;
                answer.i32()?;
                wire::accept(answer.i16()?, "finding the coordinator")?;
                answer.nullable_text()?;
                answer.i32()
            };
            found.await.map_err(|error: anyhow::Error| format!("{error:#}"))
        })
        .await
    }

    async fn reorder_replicas(&self, topic: &str, partition: i32, order: &[i32]) -> Result<()> {
        let mut body = Writer::default();
        body.i32(10_000).compact_array(1).compact_text(topic).compact_array(1).i32(partition);
        body.compact_array(order.len());
        for replica in order {
            body.i32(*replica);
        }
        body.tags().tags().tags();
        let mut answer = self.ask_any(Api::ALTER_PARTITION_REASSIGNMENTS, body).await?;
        answer.i32()?;
        wire::accept(answer.i16()?, "reordering replicas")?;
        answer.nullable_compact_text()?;
        for _ in 0..answer.compact_array()? {
            answer.compact_text()?;
            for _ in 0..answer.compact_array()? {
                answer.i32()?;
                wire::accept(answer.i16()?, "reordering replicas")?;
                answer.nullable_compact_text()?;
                answer.tags()?;
            }
            answer.tags()?;
        }
        Ok(())
    }

    /// An election that changes nothing is refused by name; whoever waits for the leader sees that it is there.
    async fn elect_preferred(&self, topic: &str, partition: i32) -> Result<()> {
        let mut body = Writer::default();
        body.i8(0).array(1).text(topic).array(1).i32(partition).i32(10_000);
        let mut answer = self.ask_any(Api::ELECT_LEADERS, body).await?;
        answer.i32()?;
        wire::accept(answer.i16()?, "electing a leader")
    }

    /// Asks whichever broker answers first in the order of their addresses.
    async fn ask_any(&self, api: Api, body: Writer) -> Result<Reader> {
        let body = body.into_bytes();
        let mut last = anyhow::anyhow!("there are no brokers");
        for address in self.addresses() {
            let mut copy = Writer::default();
            copy.raw(&body);
            match wire::ask(address, api, copy).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// `None` asks for all topics.
    async fn view(&self, topics: Option<&[&str]>) -> Result<View> {
        let mut body = Writer::default();
        match topics {
            Some(topics) => {
                body.array(topics.len());
                for topic in topics {
                    body.text(topic);
                }
            }
            None => {
                body.i32(-1);
            }
        }
        body.bool(false);
        read_view(self.ask_any(Api::METADATA, body).await?)
    }
}

fn read_view(mut answer: Reader) -> Result<View> {
    let mut view = View { brokers: BTreeMap::new(), topics: BTreeMap::new() };
    answer.i32()?;
    for _ in 0..answer.array()? {
        let (id, host, port) = (answer.i32()?, answer.text()?, answer.i32()?);
        answer.nullable_text()?;
        view.brokers.insert(id, format!("{host}:{port}"));
    }
    answer.nullable_text()?;
    answer.i32()?;
    for _ in 0..answer.array()? {
        let (error, name, _internal) = (answer.i16()?, answer.text()?, answer.i8()?);
        let mut partitions = BTreeMap::new();
        for _ in 0..answer.array()? {
            let (_error, partition, leader) = (answer.i16()?, answer.i32()?, answer.i32()?);
            let (replicas, in_sync) = (answer.i32s()?, answer.i32s()?);
            partitions.insert(partition, PartitionState { leader, replicas, in_sync });
        }
        if error == 0 {
            view.topics.insert(name, partitions);
        }
    }
    Ok(view)
}

/// How the broker spreads groups over the partitions of its offsets topic.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_java_s() {
        assert_eq!(java_hash("abc"), 96_354);
        assert_eq!(java_hash("consumer-group-of-some-length"), {
            let mut hash: i64 = 0;
            for byte in b"consumer-group-of-some-length" {
                hash = (hash * 31 + i64::from(*byte)) & 0xffff_ffff;
            }
            hash as u32 as i32
        });
    }
}
