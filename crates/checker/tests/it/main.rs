//! The checker against histories that are right, and against the same with one thing wrong.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a mutation looks for one kind of note among all"
)]

mod leases;
mod occurrences;
mod planted;
mod random;
mod right;
mod wrong;
