//! Names that keep tests on one stack apart.

use uuid::Uuid;

/// Prefixes and suffixes of one test (or of one service under test).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Goes before every topic name: `t018f2a-`.
    pub topic_prefix: String,
    /// Goes after every consumer group: `-t018f2a`.
    pub group_suffix: String,
    /// Goes before every Redis key: `t018f2a:`.
    pub redis_prefix: String,
    id: String,
}

impl Namespace {
    /// Names nobody else has.
    #[must_use]
    pub fn unique() -> Self {
        // The tail of a version 7 UUID is its random part.
        let uuid = Uuid::now_v7().simple().to_string();
        let id = format!("t{}", &uuid[20..]);
        Self {
            topic_prefix: format!("{id}-"),
            group_suffix: format!("-{id}"),
            redis_prefix: format!("{id}:"),
            id,
        }
    }

    /// The bare unique part.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name of `topic` in this namespace.
    #[must_use]
    pub fn topic(&self, topic: &str) -> String {
        format!("{}{topic}", self.topic_prefix)
    }
}
