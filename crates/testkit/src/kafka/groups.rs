//! Consumer groups from outside: who is in one, under which protocol, what it has committed, and changing that.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::access::KafkaAccess;
use super::wire::{self, Api, Reader, Writer};
use crate::wait::try_wait_until;

const LIMIT: Duration = Duration::from_secs(10);
const GROUP_ID_NOT_FOUND: i16 = 69;
/// Under the classic protocol a group that nobody knows is described as one in this state.
const STATE_OF_NO_GROUP: &str = "Dead";

/// How the members of a group and the broker share the work out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupProtocol {
    /// A member works out the assignment.
    Classic,
    /// The broker does (KIP-848).
    Consumer,
}

/// A group as its coordinator describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its protocol.
    pub protocol: GroupProtocol,
    /// `Stable`, `Empty`, `PreparingRebalance` and so on.
    pub state: String,
    /// The assignor in use; empty without members.
    pub assignor: String,
    /// Its members, in the order of their ids.
    pub members: Vec<GroupMember>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// The id that the broker knows it by.
    pub id: String,
    /// The id that a static member keeps.
    pub instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// The epoch it has reached; always 0 under the classic protocol, which doesn't tell.
    pub epoch: i32,
    /// Its partitions by topic.
    pub assigned: BTreeMap<String, Vec<i32>>,
}

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: i64,
    /// The text that lies beside it.
    pub metadata: String,
}

impl KafkaAccess {
    /// The group as it is now; `None` when the coordinator knows no such group.
    ///
    /// # Panics
    /// When no coordinator answers for ten seconds.
    pub async fn group(&self, group: &str) -> Option<Group> {
        let described = try_wait_until(LIMIT, || async {
            let found = match self.describe_consumer_group(group).await {
                Ok(Some(found)) => Ok(Some(found)),
                Ok(None) => self.describe_classic_group(group).await,
                Err(error) => Err(error),
            };
            found.map_err(|error| format!("{error:#}"))
        });
        described.await.unwrap_or_else(|last| panic!("{group} was not described: {last}"))
    }

    /// What the group has committed for the partition; `None` when nothing.
    ///
    /// # Panics
    /// When the broker refuses.
    pub async fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
    ) -> Option<CommittedOffset> {
        let mut config = self.client();
        config.set("group.id", group);
        let topic = topic.to_owned();
        let asked = tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = config.create()?;
            let mut list = TopicPartitionList::new();
            list.add_partition(&topic, partition);
            let list = consumer.committed_offsets(list, LIMIT)?;
            let found = list.find_partition(&topic, partition).context("no such partition")?;
            // Logical offsets, such as «none committed», are negative on the wire.
            let offset = found.offset().to_raw().filter(|raw| *raw >= 0);
            let metadata = found.metadata().to_owned();
            Ok::<_, anyhow::Error>(offset.map(|offset| CommittedOffset { offset, metadata }))
        });
        asked
            .await
            .expect("asking does not panic")
            .unwrap_or_else(|error| panic!("asking what {group} has committed: {error:?}"))
    }

    /// Sets what a group without members has committed, as the command line tools do.
    ///
    /// # Errors
    /// When the broker refuses; it does (`UNKNOWN_MEMBER_ID`) while the group has members.
    pub async fn set_committed(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
        committed: &CommittedOffset,
    ) -> Result<()> {
        self.commit(group, topic, partition, committed, (-1, "")).await
    }

    /// Sets what a living group has committed, in the name of one of its members: what a stranger with a member's id
    /// could do. The consumer protocol alone tells the epoch that this takes.
    ///
    /// # Errors
    /// When the group has no members under the consumer protocol, or the broker refuses.
    pub async fn set_committed_as_member(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
        committed: &CommittedOffset,
    ) -> Result<()> {
        let described = self.group(group).await.context("there is no such group")?;
        let member = described.members.first().context("the group has no members")?;
        self.commit(group, topic, partition, committed, (member.epoch, &member.id)).await
    }

    async fn commit(
        &self,
        group: &str,
        topic: &str,
        partition: i32,
        committed: &CommittedOffset,
        (epoch, member): (i32, &str),
    ) -> Result<()> {
        let mut body = Writer::default();
        body.compact_text(group).i32(epoch).compact_text(member).null_compact_text();
        body.compact_array(1).compact_text(topic).compact_array(1);
        body.i32(partition).i64(committed.offset).i32(-1).compact_text(&committed.metadata);
        body.tags().tags().tags();
        let address = self.coordinator_address(group).await?;
        let mut answer = wire::ask(&address, Api::OFFSET_COMMIT, body).await?;
        answer.i32()?;
        for _ in 0..answer.compact_array()? {
            answer.compact_text()?;
            for _ in 0..answer.compact_array()? {
                answer.i32()?;
                wire::accept(answer.i16()?, "committing an offset")?;
                answer.tags()?;
            }
            answer.tags()?;
        }
        Ok(())
    }

    async fn describe_consumer_group(&self, group: &str) -> Result<Option<Group>> {
        let mut body = Writer::default();
        body.compact_array(1).compact_text(group).bool(false).tags();
        let address = self.coordinator_address(group).await?;
        let mut answer = wire::ask(&address, Api::CONSUMER_GROUP_DESCRIBE, body).await?;
        answer.i32()?;
        anyhow::ensure!(answer.compact_array()? == 1, "one group was asked for");
        let error = answer.i16()?;
        if error == GROUP_ID_NOT_FOUND {
            return Ok(None);
        }
        wire::accept(error, "describing the group")?;
        answer.nullable_compact_text()?;
        answer.compact_text()?;
        let state = answer.compact_text()?;
        let (_group_epoch, _assignment_epoch) = (answer.i32()?, answer.i32()?);
        let assignor = answer.compact_text()?;
        let mut members = Vec::new();
        for _ in 0..answer.compact_array()? {
            members.push(read_consumer_member(&mut answer)?);
        }
        Ok(Some(sorted(Group { protocol: GroupProtocol::Consumer, state, assignor, members })))
    }

    async fn describe_classic_group(&self, group: &str) -> Result<Option<Group>> {
        let mut body = Writer::default();
        body.array(1).text(group).bool(false);
        let address = self.coordinator_address(group).await?;
        let mut answer = wire::ask(&address, Api::DESCRIBE_GROUPS, body).await?;
        answer.i32()?;
        anyhow::ensure!(answer.array()? == 1, "one group was asked for");
        let error = answer.i16()?;
        if error == GROUP_ID_NOT_FOUND {
            return Ok(None);
        }
        wire::accept(error, "describing the group")?;
        answer.text()?;
        let (state, _protocol_type, assignor) = (answer.text()?, answer.text()?, answer.text()?);
        if state == STATE_OF_NO_GROUP {
            return Ok(None);
        }
        let mut members = Vec::new();
        for _ in 0..answer.array()? {
            let (id, instance_id) = (answer.text()?, answer.nullable_text()?);
            let (client_id, _host) = (answer.text()?, answer.text()?);
            let (_subscription, assignment) = (answer.bytes()?, answer.bytes()?);
            let assigned = read_classic_assignment(assignment)?;
            members.push(GroupMember { id, instance_id, client_id, epoch: 0, assigned });
        }
        Ok(Some(sorted(Group { protocol: GroupProtocol::Classic, state, assignor, members })))
    }
}

fn sorted(mut group: Group) -> Group {
    group.members.sort_by(|left, right| left.id.cmp(&right.id));
    group
}

fn read_consumer_member(answer: &mut Reader) -> Result<GroupMember> {
    let (id, instance_id) = (answer.compact_text()?, answer.nullable_compact_text()?);
    let (_rack, epoch) = (answer.nullable_compact_text()?, answer.i32()?);
    let (client_id, _host) = (answer.compact_text()?, answer.compact_text()?);
    for _ in 0..answer.compact_array()? {
        answer.compact_text()?;
    }
    answer.nullable_compact_text()?;
    let assigned = read_consumer_assignment(answer)?;
    let _target = read_consumer_assignment(answer)?;
    answer.tags()?;
    Ok(GroupMember { id, instance_id, client_id, epoch, assigned })
}

fn read_consumer_assignment(answer: &mut Reader) -> Result<BTreeMap<String, Vec<i32>>> {
    let mut assigned = BTreeMap::new();
    for _ in 0..answer.compact_array()? {
        answer.take(16)?;
        let topic = answer.compact_text()?;
        let count = answer.compact_array()?;
        let partitions: Result<Vec<i32>> = (0..count).map(|_| answer.i32()).collect();
        answer.tags()?;
        assigned.insert(topic, partitions?);
    }
    answer.tags()?;
    Ok(assigned)
}

/// While the group rebalances a member has no assignment at all.
fn read_classic_assignment(bytes: Vec<u8>) -> Result<BTreeMap<String, Vec<i32>>> {
    let mut assigned = BTreeMap::new();
    if bytes.is_empty() {
        return Ok(assigned);
    }
    let mut reader = Reader::new(bytes);
    reader.i16()?;
    for _ in 0..reader.array()? {
        let (topic, partitions) = (reader.text()?, reader.i32s()?);
        assigned.insert(topic, partitions);
    }
    Ok(assigned)
}
