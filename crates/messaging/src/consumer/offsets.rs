//! Which records of a partition are finished, and how a commit says so.
//!
//! ```text
//! committed(): offset + metadata -> codec::decode -> CompletedMap -+
//! delivered / finished ------------------------------------> OffsetTracker -> CommitPoint: offset + metadata
//! ```
//! A committed offset is one number, so by itself it can only say "all below is finished": with records handled out of
//! order one slow record would make a restart repeat everything behind it. The commit's metadata therefore carries a
//! map of what is finished above that offset, in the format of Confluent's Parallel Consumer, so that only the holes
//! are repeated and a group can move between that library and this one.
//!
//! Everything here is pure: no client, no clock, no lock. Its one direction of error is to tell less than was done,
//! which repeats a record; it refuses whatever would tell more, which would lose one.

mod codec;
#[cfg(test)]
mod golden;
mod map;
#[cfg(test)]
mod properties;
mod tracker;
mod unfinished;

pub(crate) use codec::decode;
pub(crate) use map::CompletedMap;
pub(crate) use tracker::{CommitPoint, Delivered, OffsetTracker};
