//! What differs between the topic table and the cluster, in words.

use std::fmt;

use millrace_envelope::TopicName;

/// One difference between the table and the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The topic doesn't exist.
    Missing(TopicName),
    /// Another number of partitions; changing it moves keys and is a migration.
    Partitions {
        /// The topic.
        topic: TopicName,
        /// By the table.
        wanted: i32,
        /// On the cluster.
        found: i32,
    },
    /// Another number of replicas; changing it moves data.
    Replication {
        /// The topic.
        topic: TopicName,
        /// By the table.
        wanted: i32,
        /// On the cluster.
        found: i32,
    },
    /// Another value of a config.
    Config {
        /// The topic.
        topic: TopicName,
        /// The config's name.
        key: String,
        /// By the table.
        wanted: String,
        /// On the cluster.
        found: Option<String>,
    },
}

/// What `ensure` did and what it left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnsureReport {
    /// Topics that were created.
    pub created: Vec<TopicName>,
    /// Topics whose configs were set.
    pub altered: Vec<TopicName>,
    /// Differences that it never mends.
    pub left: Vec<Difference>,
}

impl Difference {
    pub(super) fn is_config_of(&self, name: &TopicName) -> bool {
        matches!(self, Self::Config { topic, .. } if topic == name)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(topic) => write!(f, "{topic}: does not exist"),
            Self::Partitions { topic, wanted, found } => write!(
                f,
                "{topic}: has {found} partitions instead of {wanted}; changing that moves keys and is a migration"
            ),
            Self::Replication { topic, wanted, found } => {
                write!(f, "{topic}: has {found} replicas instead of {wanted}")
            }
            Self::Config { topic, key, wanted, found } => {
                let found = found.as_deref().unwrap_or("nothing");
                write!(f, "{topic}: {key} is {found} instead of {wanted}")
            }
        }
    }
}
