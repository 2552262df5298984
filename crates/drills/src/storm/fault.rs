//! What can happen in a beat of a storm, beside members that come and go.

use crate::dice::Dice;

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A member dies, and another one comes.
    Kill,
    /// A member stands still past its session.
    Freeze,
    /// The broker dies and comes back.
    KillBroker,
    Nothing,
}

impl Fault {
    pub(super) fn draw(dice: &mut Dice) -> Self {
        match dice.below(100) {
            0..20 => Self::Kill,
            20..38 => Self::Freeze,
            38..44 => Self::KillBroker,
            _ => Self::Nothing,
        }
    }
}
