//! Logical names to names on the broker, and nowhere else.

use millrace_envelope::{ConsumerGroup, TopicName};

use crate::KafkaSettings;

/// Adds what keeps several users of one broker apart.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    topic_prefix: String,
    group_suffix: String,
}

impl Naming {
    pub(crate) fn new(settings: &KafkaSettings) -> Self {
        Self {
            topic_prefix: settings.topic_prefix.clone(),
            group_suffix: settings.group_suffix.clone(),
        }
    }

    /// The topic's name on the broker.
    pub(crate) fn topic(&self, topic: &TopicName) -> String {
        format!("{}{topic}", self.topic_prefix)
    }

    /// The group's name on the broker.
    pub(crate) fn group(&self, group: ConsumerGroup) -> String {
        format!("{group}{}", self.group_suffix)
    }

    /// The name of the group that reads this group's retry topics.
    pub(crate) fn retry_group(&self, group: ConsumerGroup) -> String {
        format!("{group}.retry{}", self.group_suffix)
    }
}
/// A record's key as a span attribute: text of a sane length, or nothing.
pub(crate) fn key_text(key: &[u8]) -> Option<&str> {
    const BYTES_MAX: usize = 256;
    std::str::from_utf8(key).ok().filter(|text| text.len() <= BYTES_MAX)
}
