//! The scheduler's words as JSON, which knows no other ones.

use millrace_scheduler::calendar::DstPolicy;
use millrace_scheduler::policy::Overlap;
use millrace_scheduler::{OccurrenceKind, OccurrenceState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An enum with the variants of another one, and both ways between them. The matches are exhaustive, so a new word
/// doesn't compile before the API knows it.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident for $of:ty { $($(#[$vmeta:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub(super) enum $name { $($(#[$vmeta])* $variant),+ }

        impl From<$of> for $name {
            fn from(word: $of) -> Self {
                match word { $(<$of>::$variant => Self::$variant),+ }
            }
        }

        impl From<$name> for $of {
            fn from(word: $name) -> Self {
                match word { $($name::$variant => Self::$variant),+ }
            }
        }
    };
}

words! {
    /// What becomes of an occurrence that is due while an earlier one is open.
    OverlapDto for Overlap {
        /// It is left out.
        Skip,
        /// It waits; further ones are left out.
        BufferOne,
        /// It waits its turn.
        BufferAll,
        /// It waits while the open one is asked to end.
        CancelOther,
        /// It begins; what the open one writes from now on is refused.
        TerminateOther,
        /// It begins beside it.
        AllowAll,
    }
}

words! {
    /// What becomes of wall-clock times that a change of the clocks removes or repeats.
    DstDto for DstPolicy {
        /// A missing one is left out, a repeated one is taken the first time.
        Skip,
        /// A missing one is taken at the moment of the jump, a repeated one the first time.
        Once,
        /// A missing one is taken at the moment of the jump, a repeated one both times.
        Twice,
    }
}

words! {
    /// How far an occurrence is, or how it ended.
    StateDto for OccurrenceState {
        /// For its instant, for a place, or for its next attempt.
        Waiting,
        /// Given to the workers.
        Dispatched,
        /// A worker has it.
        Running,
        /// It took effect.
        Done,
        /// It failed for good.
        Failed,
        /// Left out by the overlap policy.
        Skipped,
        /// Due too long ago when somebody looked.
        Missed,
        /// Ended because it was asked to.
        Cancelled,
        /// Ended without being asked.
        Terminated,
        /// Its last attempt took too long.
        TimedOut,
    }
}

words! {
    /// Where an occurrence came from.
    KindDto for OccurrenceKind {
        /// The task's schedule.
        Scheduled,
        /// Somebody triggered it.
        Manual,
        /// Somebody asked for a range of the past.
        Backfill,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_says_what_the_table_says() {
        for overlap in Overlap::ALL {
            let text = serde_json::to_value(OverlapDto::from(overlap)).unwrap();
            assert_eq!(text, overlap.as_str());
        }
        for dst in DstPolicy::ALL {
            assert_eq!(serde_json::to_value(DstDto::from(dst)).unwrap(), dst.as_str());
        }
        for state in OccurrenceState::ALL {
            assert_eq!(serde_json::to_value(StateDto::from(state)).unwrap(), state.as_str());
        }
        for kind in OccurrenceKind::ALL {
            assert_eq!(serde_json::to_value(KindDto::from(kind)).unwrap(), kind.as_str());
        }
    }
}
