//! What can be wrong, by name, and the shortest evidence for it.

use std::fmt;

/// The names; the README says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the README's table says what each name means")]
pub enum AnomalyName {
    LostWrite,
    Unseen,
    Duplicate,
    InconsistentOffset,
    PollSkip,
    InternalPollSkip,
    NonmonotonicPoll,
    InternalNonmonotonicPoll,
    NonmonotonicSend,
    InternalNonmonotonicSend,
    AbortedRead,
    OrderPerKey,
    OrderPerPartition,
    DoubleEffect,
    DoneAndDead,
    EffectWithoutRecord,
    HalfCommit,
    StaleEpoch,
    PrematureCommit,
    HandledAfterRevoke,
    DoubleLetter,
    LateRepeat,
    StaleToken,
    SharedToken,
    InterleavedTokens,
    NonmonotonicGrant,
    EarlyGrant,
    WorkAfterLoss,
    RefusedWrite,
    LostOccurrence,
    DoubleDispatch,
}

impl AnomalyName {
    /// The name in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LostWrite => "lost-write",
            Self::Unseen => "unseen",
            Self::Duplicate => "duplicate",
            Self::InconsistentOffset => "inconsistent-offset",
            Self::PollSkip => "poll-skip",
            Self::InternalPollSkip => "internal-poll-skip",
            Self::NonmonotonicPoll => "nonmonotonic-poll",
            Self::InternalNonmonotonicPoll => "internal-nonmonotonic-poll",
            Self::NonmonotonicSend => "nonmonotonic-send",
            Self::InternalNonmonotonicSend => "internal-nonmonotonic-send",
            Self::AbortedRead => "aborted-read",
            Self::OrderPerKey => "order-per-key",
            Self::OrderPerPartition => "order-per-partition",
            Self::DoubleEffect => "double-effect",
            Self::DoneAndDead => "done-and-dead",
            Self::EffectWithoutRecord => "effect-without-record",
            Self::HalfCommit => "half-commit",
            Self::StaleEpoch => "stale-epoch",
            Self::PrematureCommit => "premature-commit",
            Self::HandledAfterRevoke => "handled-after-revoke",
            Self::DoubleLetter => "double-letter",
            Self::LateRepeat => "late-repeat",
            Self::StaleToken => "stale-token",
            Self::SharedToken => "shared-token",
            Self::InterleavedTokens => "interleaved-tokens",
            Self::NonmonotonicGrant => "nonmonotonic-grant",
            Self::EarlyGrant => "early-grant",
            Self::WorkAfterLoss => "work-after-loss",
            Self::RefusedWrite => "refused-write",
            Self::LostOccurrence => "lost-occurrence",
            Self::DoubleDispatch => "double-dispatch",
        }
    }
}

impl fmt::Display for AnomalyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    /// What it is called.
    pub name: AnomalyName,
    /// What shows it, in one line.
    pub evidence: String,
}

impl Anomaly {
    pub(crate) fn new(name: AnomalyName, evidence: String) -> Self {
        Self { name, evidence }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.evidence)
    }
}
