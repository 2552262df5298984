//! Finding stored lines, newest first, a page at a time.

mod filter;
#[cfg(test)]
mod plans;
mod store;

pub(crate) use filter::{LineFilter, StatusRange};
pub(crate) use store::{LineRow, search_lines};
