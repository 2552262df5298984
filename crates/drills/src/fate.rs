//! What a handler does with a record.
//!
//! Decided by the drill's seed and the record's id alone: a member that was started a minute later, or the next
//! owner of a partition, meets the same record in the same way, and a seed replays.

use std::time::Duration;

use clap::Args;
use uuid::Uuid;

use crate::dice::Dice;

/// How often which fate is drawn.
#[derive(Debug, Clone, Copy, Args)]
pub struct Fates {
    /// Of a thousand records, how many fail once or twice before they succeed.
    #[arg(long, default_value_t = 0)]
    pub transient_per_mille: u64,
    /// Of a thousand records, how many fail so often that they leave for the retry topics where there are any.
    #[arg(long, default_value_t = 0)]
    pub tiered_per_mille: u64,
    /// Of a thousand records, how many can never succeed.
    #[arg(long, default_value_t = 0)]
    pub permanent_per_mille: u64,
    /// Of a thousand records, how many take `slow_ms`.
    #[arg(long, default_value_t = 0)]
    pub slow_per_mille: u64,
    /// How long a slow record takes.
    #[arg(long, default_value_t = 200)]
    pub slow_ms: u64,
    /// How long every other record takes.
    #[arg(long, default_value_t = 0)]
    pub work_ms: u64,
}

/// What happens to one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate {
    /// Attempts that fail transiently before the outcome, on each process or over all topics.
    pub failures: u32,
    /// It can't succeed.
    pub permanent: bool,
    /// How long an attempt takes.
    pub takes: Duration,
}

impl Fates {
    /// The arguments that say the same to a member.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        [
            ("--transient-per-mille", self.transient_per_mille),
            ("--tiered-per-mille", self.tiered_per_mille),
            ("--permanent-per-mille", self.permanent_per_mille),
            ("--slow-per-mille", self.slow_per_mille),
            ("--slow-ms", self.slow_ms),
            ("--work-ms", self.work_ms),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value.to_string()])
        .collect()
    }

    /// The fate of a record.
    #[must_use]
    pub fn of(&self, seed: u64, id: Uuid) -> Fate {
        let (high, low) = id.as_u64_pair();
        let mut dice = Dice::new(Dice::new(seed ^ high).bits() ^ low);
        let mut draw = || dice.below(1000);
        let permanent = draw() < self.permanent_per_mille;
        let one_more = u32::from(draw() < 500);
        let transient = u32::from(draw() < self.transient_per_mille) * (1 + one_more);
        // Three attempts are made in place, the fifth is the first on a retry topic.
        let failures = if draw() < self.tiered_per_mille { 4 + one_more } else { transient };
        let slow = draw() < self.slow_per_mille;
        let takes = Duration::from_millis(if slow { self.slow_ms } else { self.work_ms });
        Fate { failures, permanent, takes }
    }
}

impl Default for Fates {
    fn default() -> Self {
        Self {
            transient_per_mille: 0,
            tiered_per_mille: 0,
            permanent_per_mille: 0,
            slow_per_mille: 0,
            slow_ms: 200,
            work_ms: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fate_depends_on_seed_and_id_and_comes_as_often_as_asked() {
        let fates =
            Fates { permanent_per_mille: 100, transient_per_mille: 300, ..Fates::default() };
        let ids: Vec<Uuid> = (0..10_000).map(|number| Uuid::from_u128(number << 60)).collect();
        assert!(ids.iter().all(|id| fates.of(7, *id) == fates.of(7, *id)));
        assert!(ids.iter().any(|id| fates.of(7, *id) != fates.of(8, *id)));
        let count =
            |test: fn(&Fate) -> bool| ids.iter().filter(|id| test(&fates.of(7, **id))).count();
        assert!((800..1200).contains(&count(|fate| fate.permanent)));
        assert!((2700..3300).contains(&count(|fate| fate.failures > 0)));
        assert!((1300..1700).contains(&count(|fate| fate.failures == 2)));
    }
}
