//! What one consumer is called, by us and by the broker.

use millrace_envelope::{ConsumerGroup, RetryTier, TopicName};

use super::lineage::Lineage;
use super::slot::Slot;
use crate::KafkaSettings;
use crate::message::RawRecord;
use crate::naming::Naming;

/// One topic of a consumer.
#[derive(Debug)]
pub(super) struct Source {
    /// The logical name: labels of metrics, fields of log lines.
    pub(super) topic: TopicName,
    /// The name on the broker.
    pub(super) broker_topic: String,
    /// Set for a retry topic.
    pub(super) tier: Option<RetryTier>,
}

#[derive(Debug)]
pub(super) struct Identity {
    pub(super) consumer_group: ConsumerGroup,
    /// The logical name.
    pub(super) group: &'static str,
    /// The name on the broker.
    pub(super) broker_group: String,
    /// The topic that records were first published on.
    pub(super) origin: TopicName,
    /// The topics that are read: the first one, or its retry topics.
    pub(super) sources: Vec<Source>,
    /// The handler said that order doesn't matter to it.
    pub(super) order_free: bool,
    pub(super) naming: Naming,
    /// `group.instance.id`, for members that keep their partitions over a restart.
    pub(super) instance_id: Option<String>,
    /// Which topics bore the names on the broker, over all sessions.
    pub(super) lineage: Lineage,
}

impl Identity {
    /// Of the consumer that reads the topic itself.
    pub(super) fn new(
        settings: &KafkaSettings,
        group: ConsumerGroup,
        origin: TopicName,
        order_free: bool,
        instance_id: Option<String>,
    ) -> Self {
        let naming = Naming::new(settings);
        let source =
            Source { topic: origin.clone(), broker_topic: naming.topic(&origin), tier: None };
        Self {
            consumer_group: group,
            group: group.as_str(),
            broker_group: naming.group(group),
            origin,
            sources: vec![source],
            order_free,
            naming,
            instance_id,
            lineage: Lineage::default(),
        }
    }

    /// Of the consumer that reads the retry topics of this one, in a group of its own: a member that subscribes to
    /// other topics than the rest would make each rebalance of the group harder to foresee.
    pub(super) fn of_retries(&self) -> Self {
        let sources = RetryTier::ALL.map(|tier| {
            let topic = self.origin.retry(self.consumer_group, tier);
            Source { broker_topic: self.naming.topic(&topic), topic, tier: Some(tier) }
        });
        Self {
            consumer_group: self.consumer_group,
            group: self.group,
            broker_group: self.naming.retry_group(self.consumer_group),
            origin: self.origin.clone(),
            sources: sources.into(),
            order_free: true,
            naming: self.naming.clone(),
            instance_id: self.instance_id.clone(),
            lineage: Lineage::default(),
        }
    }

    pub(super) fn source(&self, slot: Slot) -> &Source {
        &self.sources[slot.topic]
    }

    /// The slot of a partition by its topic's name on the broker.
    pub(super) fn slot(&self, broker_topic: &str, partition: i32) -> Option<Slot> {
        let topic = self.sources.iter().position(|source| source.broker_topic == broker_topic)?;
        Some(Slot { topic, partition })
    }

    /// The retry topic that a record was read from.
    pub(super) fn tier_of(&self, record: &RawRecord) -> Option<RetryTier> {
        self.source_of(record).tier
    }

    pub(super) fn broker_topic_of(&self, record: &RawRecord) -> &str {
        &self.source_of(record).broker_topic
    }

    /// The names of its topics on the broker, for a reader.
    pub(super) fn topics(&self) -> String {
        let names: Vec<&str> =
            self.sources.iter().map(|source| source.broker_topic.as_str()).collect();
        names.join("`, `")
    }

    fn source_of(&self, record: &RawRecord) -> &Source {
        self.sources.iter().find(|source| source.topic == record.topic).unwrap_or(&self.sources[0])
    }
}
