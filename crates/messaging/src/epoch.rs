//! Who owns a partition, as a number that a sink without an inbox can check.
//!
//! A member that was paused past its session still runs its handler while another owns the partition. The number is
//! drawn at assignment and handed over only after the broker has accepted a commit from this very member: a member
//! that is no longer in the group never gets so far, and one that drew late raised the number under the owner's feet,
//! whose write is then refused, so it draws and commits again.

use std::error::Error;

use futures::future::BoxFuture;
use millrace_envelope::{ConsumerGroup, TopicName};

/// The number under which one member owns one partition. Sinks compare it in the transaction of their write.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Epoch {
    /// The group that owns.
    pub group: ConsumerGroup,
    /// The partition's topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: i32,
    /// Higher than any number drawn before for the same group and partition.
    pub number: i64,
}

/// Draws epochs; the outbox crate keeps them in a table beside the sink's.
pub trait EpochStore: Send + Sync + 'static {
    /// A number higher than any drawn before for this group and partition.
    fn draw(
        &self,
        group: ConsumerGroup,
        topic: &TopicName,
        partition: i32,
    ) -> BoxFuture<'_, Result<i64, Box<dyn Error + Send + Sync>>>;
}
