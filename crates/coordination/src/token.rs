//! The number that makes a late writer recognisable.

use std::fmt;

/// `incarnation x 2^32 + counter`: a later holder of a lease has a higher one, even if Redis forgot everything in
/// between. Fits PostgreSQL's bigint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(u64);

impl FencingToken {
    pub(crate) fn new(incarnation: u32, counter: u32) -> Self {
        Self((u64::from(incarnation) << 32) | u64::from(counter))
    }

    /// Drawn from PostgreSQL's sequence whenever Redis' memory can't be trusted.
    #[must_use]
    pub fn incarnation(self) -> u32 {
        u32::try_from(self.0 >> 32).unwrap_or(u32::MAX)
    }

    /// For a `bigint` column `fence`.
    #[must_use]
    pub fn as_i64(self) -> i64 {
        // The sequence's maximum of 2^31 - 1 keeps the highest bit clear.
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// Reads a `fence` column; a negative number was never written and reads as the lowest token.
    #[must_use]
    pub fn from_i64(stored: i64) -> Self {
        Self(u64::try_from(stored).unwrap_or(0))
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_outweighs_every_counter() {
        let old = FencingToken::new(1, u32::MAX);
        let new = FencingToken::new(2, 0);
        assert!(new > old);
        assert_eq!(new.incarnation(), 2);
        assert_eq!(FencingToken::from_i64(old.as_i64()), old);
    }
}
