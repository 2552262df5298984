//! The four ways to share a topic's work.

/// Who shares the work of a group, and what stays in order. All four deliver at least once and dead-letter alike;
/// docs/delivery-guarantees.md lays them side by side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Mode {
    /// Many members; records of one key are handled in order, one at a time, and different keys side by side, also
    /// those of one partition. A key that fails waits and holds up no other.
    #[default]
    KeyShared,
    /// Each partition is handled by one member, one record after the other; others stand by and take over. A record
    /// that fails holds up its partition.
    Failover,
    /// Many members, no order. Only here a failing record goes through the retry topics, which reorder.
    Shared,
    /// One process has all partitions, in order within each; another that starts under the same id waits or
    /// takes its place.
    Exclusive {
        /// The id under which the one process is known, `group.instance.id` on the broker.
        instance_id: String,
    },
}

/// What must stay in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Key,
    Partition,
    None,
}

impl Mode {
    pub(super) fn order(&self) -> Order {
        match self {
            Self::KeyShared => Order::Key,
            Self::Failover | Self::Exclusive { .. } => Order::Partition,
            Self::Shared => Order::None,
        }
    }

    pub(super) fn instance_id(&self) -> Option<&str> {
        match self {
            Self::Exclusive { instance_id } => Some(instance_id),
            Self::KeyShared | Self::Failover | Self::Shared => None,
        }
    }
}
