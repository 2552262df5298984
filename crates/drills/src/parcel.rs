//! What travels in a drill.

use millrace_envelope::{ConsumerGroup, TopicName, events};
use serde::{Deserialize, Serialize};

/// The group under test.
pub const GROUP: ConsumerGroup = ConsumerGroup::from_static("drill.sort");
/// The topic under test.
pub const PARCELS: TopicName = TopicName::from_static("drill-parcels");
/// Holds the id of a record whose value holds none.
pub const ID_HEADER: &str = "x-drill-id";
/// Where effects emit to.
pub const NOTICES: TopicName = TopicName::from_static("drill-notices");

/// The `seq`th parcel of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parcel {
    /// What keeps parcels in sequence.
    pub key: String,
    /// From 1.
    pub seq: u64,
}

events! {
    /// What members handle.
    pub enum ParcelEvent on "drill-parcels", aggregate "parcel", key key {
        "parcel.sent" v1 => Sent(Parcel),
    }
}

events! {
    /// What their effects emit through the outbox.
    pub enum NoticeEvent on "drill-notices", aggregate "notice", key key {
        "notice.made" v1 => Made(Parcel),
    }
}
