//! Which partition of which topic.

/// A partition of one of the consumer's topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot {
    /// The place of its topic in the consumer's list.
    pub(super) topic: usize,
    pub(super) partition: i32,
}
