//! What one consumer is called, by us and by the broker.

use millrace_envelope::{ConsumerGroup, TopicName};

use crate::KafkaSettings;
use crate::naming::Naming;

#[derive(Debug)]
pub(super) struct Identity {
    /// The logical names: labels of metrics, fields of log lines.
    pub(super) group: &'static str,
    pub(super) topic: String,
    /// The names on the broker.
    pub(super) broker_group: String,
    pub(super) broker_topic: String,
    pub(super) broker_dead_letter_topic: String,
}

impl Identity {
    pub(super) fn new(settings: &KafkaSettings, group: ConsumerGroup, topic: &TopicName) -> Self {
        let naming = Naming::new(settings);
        Self {
            group: group.as_str(),
            topic: topic.as_str().to_owned(),
            broker_group: naming.group(group),
            broker_topic: naming.topic(topic),
            broker_dead_letter_topic: naming.topic(&topic.dead_letter(group)),
        }
    }
}
