//! Who a member is, at one instant.

use std::fmt;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, ConsumerGroupMetadata};

use crate::ffi;

/// How often the identity is read again when a rebalance changes it in between.
const READS_MAX: u32 = 3;

/// The generation and member id under which offsets are committed.
///
/// It is taken where the partitions are known to be ours, on the polling thread, when the work is handed over, and
/// never later. The broker checks *nothing* when a transaction commits offsets for generation -1 and an empty member
/// id (older protocols had neither), and that is what the client reports for a member that was thrown out: asked
/// then, a zombie would be believed. Asked after it has joined again, the client reports its new generation, and the
/// broker takes a commit from any member for any partition. Taken before, it is refused in both cases.
pub(in crate::consumer) struct Membership {
    group: ConsumerGroupMetadata,
    generation: i32,
    member_id: String,
}

impl Membership {
    /// Who this consumer is now; `None` when it is in no group, or was thrown out of it.
    pub(in crate::consumer) fn of<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<Self> {
        let mut before = ffi::member(consumer.client())?;
        for _ in 0..READS_MAX {
            // The client's own form hides what is in it, so it is read between two looks: no generation comes twice.
            let group = consumer.group_metadata()?;
            let after = ffi::member(consumer.client())?;
            if before == after {
                let (generation, member_id) = after;
                let joined = generation > 0 && !member_id.is_empty() && !consumer.assignment_lost();
                return joined.then_some(Self { group, generation, member_id });
            }
            before = after;
        }
        None
    }

    /// True while the consumer is still this member. A plain commit can't bring its identity along: the client sends it
    /// as whoever it is by then, so who asks for one compares right before.
    pub(in crate::consumer) fn lasts<C: ConsumerContext>(
        &self,
        consumer: &BaseConsumer<C>,
    ) -> bool {
        let now = ffi::member(consumer.client());
        now.is_some_and(|(generation, member_id)| {
            (generation, member_id.as_str()) == (self.generation, self.member_id.as_str())
        })
    }

    pub(super) fn group(&self) -> &ConsumerGroupMetadata {
        &self.group
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Membership({}, generation {})", self.member_id, self.generation)
    }
}
