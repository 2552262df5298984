//! What kind of drill it is.

use std::time::Duration;

use millrace_checker::{Order, Promises};
use millrace_envelope::{RetryTier, TopicName};
use millrace_testkit::{Namespace, Stack};

use crate::fate::Fates;
use crate::member::{ModeKind, Protocol, SinkKind};
use crate::parcel::{GROUP, NOTICES, PARCELS};

/// What kind of drill it is.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Where effects go.
    pub sink: SinkKind,
    /// How the group shares the work out.
    pub protocol: Protocol,
    /// What members promise about order.
    pub mode: ModeKind,
    /// Partitions of the topic.
    pub partitions: i32,
    /// Keys that records are spread over.
    pub keys: u64,
    /// What handlers do.
    pub fates: Fates,
    /// Of a thousand records, how many can't be read.
    pub garbage_per_mille: u64,
    /// Topics that don't exist until [`Arena::make_late_topics`](super::Arena::make_late_topics).
    pub late_topics: Vec<TopicName>,
    /// How long after its end a record may be repeated when its owner goes; `None` promises nothing.
    pub replay_window: Option<Duration>,
    /// Keys of `[kafka]` for members and producer, as `KEY=value`, over the drill's own.
    pub kafka: Vec<String>,
    /// How long the producer waits for an acknowledgement; a record without one may be there or not.
    pub acknowledge_limit: Duration,
}

/// Settings of every drill: everything that is waited for happens quickly.
const KAFKA: [&str; 10] = [
    "SESSION_TIMEOUT=2s",
    "HEARTBEAT_INTERVAL=300ms",
    "REVOKE_TIMEOUT=1s",
    "CLOSE_TIMEOUT=3s",
    "COMMIT_INTERVAL=200ms",
    "METADATA_REFRESH=500ms",
    "RETRY_WAIT_MIN=20ms",
    "RETRY_WAIT_MAX=200ms",
    "LAG_INTERVAL=1s",
    "PUBLISH_TIMEOUT=3s",
];

/// A member that stands still for so long has lost its partitions, under both protocols.
pub(super) const SESSION_US: i64 = 2_000_000;

/// What says the same under KIP-848, where the broker is asked and not the client.
pub(super) const GROUP_SETTINGS: [(&str, &str); 2] =
    [("consumer.session.timeout.ms", "2000"), ("consumer.heartbeat.interval.ms", "300")];

/// The same for the database: who stops inside a transaction must not hold the next owner for long.
pub(crate) const DATABASE: [&str; 4] =
    ["LOCK_TIMEOUT=500ms", "IDLE_IN_TRANSACTION_TIMEOUT=1s", "POOL_MIN=1", "POOL_MAX=8"];

impl Shape {
    /// Two partitions, eight keys, handlers that succeed at once, the classic protocol, order by key.
    #[must_use]
    pub fn new(sink: SinkKind) -> Self {
        Self {
            sink,
            protocol: Protocol::Classic,
            mode: ModeKind::KeyShared,
            partitions: 2,
            keys: 8,
            fates: Fates::default(),
            garbage_per_mille: 0,
            late_topics: Vec::new(),
            replay_window: None,
            kafka: Vec::new(),
            acknowledge_limit: Duration::from_secs(3),
        }
    }

    /// What a consumer of this shape promises.
    #[must_use]
    pub fn promises(&self) -> Promises {
        let promises = match self.sink {
            SinkKind::Inbox => Promises::WITH_DATABASE,
            SinkKind::Notes => Promises::WITHOUT_DATABASE,
            SinkKind::Epochs => Promises::WITH_EPOCHS,
        };
        let order = match self.mode {
            ModeKind::KeyShared => Order::Key,
            ModeKind::Failover | ModeKind::Exclusive => Order::Partition,
            ModeKind::Shared => Order::None,
        };
        let window_us = |window: Duration| i64::try_from(window.as_micros()).unwrap_or(i64::MAX);
        Promises { order, replay_window_us: self.replay_window.map(window_us), ..promises }
    }

    /// The topics of the drill.
    pub(super) fn topics(&self) -> Vec<TopicName> {
        let mut all = vec![PARCELS, NOTICES, PARCELS.dead_letter(GROUP)];
        if self.mode == ModeKind::Shared {
            all.extend(RetryTier::ALL.map(|tier| PARCELS.retry(GROUP, tier)));
        }
        all
    }

    /// The keys of `[kafka]`.
    pub(crate) fn kafka(&self, stack: &Stack, namespace: &Namespace) -> Vec<String> {
        let own = [
            format!("BROKERS={}", stack.brokers()),
            format!("TOPIC_PREFIX={}", namespace.topic_prefix),
            format!("GROUP_SUFFIX={}", namespace.group_suffix),
        ];
        let protocol = match self.protocol {
            Protocol::Classic => "GROUP_PROTOCOL=classic",
            Protocol::Consumer => "GROUP_PROTOCOL=consumer",
        };
        let own = own.into_iter().chain([protocol.to_owned()]);
        let common = KAFKA.iter().map(|pair| (*pair).to_owned());
        own.chain(common).chain(self.kafka.iter().cloned()).collect()
    }
}
