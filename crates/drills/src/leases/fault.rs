//! What happens to holders and to their referee in a round.

use millrace_testkit::Way;

use crate::dice::Dice;

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing but the contention itself.
    Calm,
    /// Some holders stand still past their leases and go on.
    Freeze,
    /// Some holders are cut off from Redis one way, and are let back.
    CutOff(Way),
    /// What some holders send to the sinks is held back past their leases, and arrives then.
    HoldBack,
    /// A holder dies, and another one comes.
    Kill,
    /// Work hangs while its holder is healthy.
    Hang,
    /// Redis is wiped.
    Flush,
    /// Redis dies and comes back empty.
    Restart,
    /// Redis dies and comes back with an older copy of what it knew.
    OldCopy,
    /// The primary dies, and a replica that lagged behind it is put in its place.
    Failover,
    /// The primary is healthy, and another one is put in its place.
    Promote,
}

impl Fault {
    /// Of a single Redis.
    pub(super) fn draw(dice: &mut Dice) -> Self {
        match dice.below(100) {
            0..10 => Self::Calm,
            10..30 => Self::Freeze,
            30..42 => Self::HoldBack,
            42..48 => Self::CutOff(Way::ToServer),
            48..55 => Self::CutOff(Way::ToClient),
            55..63 => Self::Kill,
            63..72 => Self::Hang,
            72..82 => Self::Flush,
            82..91 => Self::Restart,
            _ => Self::OldCopy,
        }
    }

    /// Of a primary with replicas.
    pub(super) fn draw_of_sentinels(dice: &mut Dice) -> Self {
        match dice.below(100) {
            0..65 => Self::Failover,
            65..80 => Self::Promote,
            80..90 => Self::HoldBack,
            _ => Self::Freeze,
        }
    }

    /// In the table of what was done.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Freeze => "freeze",
            Self::CutOff(Way::ToServer) => "cut-off-to-redis",
            Self::CutOff(_) => "cut-off-from-redis",
            Self::HoldBack => "held-back-to-sinks",
            Self::Kill => "kill",
            Self::Hang => "hang",
            Self::Flush => "flush",
            Self::Restart => "restart-empty",
            Self::OldCopy => "restart-old-copy",
            Self::Failover => "failover-lagging",
            Self::Promote => "failover-healthy",
        }
    }
}
