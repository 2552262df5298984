//! Where messages go and who reads them.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// The logical name of a topic, e.g. `order-events`.
///
/// The name on the broker may carry a prefix (tests share one broker); only the messaging crate adds it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Cow<'static, str>);

impl TopicName {
    /// A name known at compile time.
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    /// A name that was stored as text, e.g. in an outbox row.
    #[must_use]
    pub fn from_stored(name: String) -> Self {
        Self(Cow::Owned(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The dead-letter topic of this topic's records for `group`.
    #[must_use]
    pub fn dead_letter(&self, group: ConsumerGroup) -> Self {
        Self(Cow::Owned(format!("{}.{}.dlt", self.0, group.as_str())))
    }

    /// The retry topic of this topic's records for `group` in one tier.
    #[must_use]
    pub fn retry(&self, group: ConsumerGroup, tier: RetryTier) -> Self {
        Self(Cow::Owned(format!("{}.{}.retry.{}", self.0, group.as_str(), tier.suffix())))
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long a record waits on a retry topic before its group tries it again. A record that waits is overtaken, so
/// tiers are for handlers to which order doesn't matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RetryTier {
    /// The first: a second.
    OneSecond,
    /// Ten seconds.
    TenSeconds,
    /// The last: a minute.
    OneMinute,
}

impl RetryTier {
    /// All tiers, in the order in which a record passes them.
    pub const ALL: [Self; 3] = [Self::OneSecond, Self::TenSeconds, Self::OneMinute];

    /// The end of the topic's name.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::OneSecond => "1s",
            Self::TenSeconds => "10s",
            Self::OneMinute => "60s",
        }
    }

    /// How long a record waits there.
    #[must_use]
    pub const fn wait(self) -> Duration {
        Duration::from_secs(match self {
            Self::OneSecond => 1,
            Self::TenSeconds => 10,
            Self::OneMinute => 60,
        })
    }

    /// The tier after this one; behind the last there is only the dead-letter topic.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::OneSecond => Some(Self::TenSeconds),
            Self::TenSeconds => Some(Self::OneMinute),
            Self::OneMinute => None,
        }
    }
}

/// A closed set of topics: an application's enum implements it, so nobody publishes to a text.
pub trait Topic {
    /// The topic's logical name.
    fn topic_name(&self) -> TopicName;
}

impl Topic for TopicName {
    fn topic_name(&self) -> TopicName {
        self.clone()
    }
}

/// Who reads a topic: `<service>.<purpose>`, e.g. `inventory.reserve`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsumerGroup(&'static str);

impl ConsumerGroup {
    /// A group known at compile time.
    #[must_use]
    pub const fn from_static(name: &'static str) -> Self {
        Self(name)
    }

    /// The name as text, without the suffix that tests add on the broker.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for ConsumerGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
