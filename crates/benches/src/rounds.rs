//! The order of things inside a run: drawn from one seed, so that no side always comes first and a run can be repeated.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

/// How often everything is measured, and who comes first.
#[derive(Debug)]
pub struct Rounds {
    count: usize,
    random: StdRng,
}

impl Rounds {
    /// `count` rounds in the order that `seed` says.
    #[must_use]
    pub fn new(seed: u64, count: usize) -> Self {
        Self { count, random: StdRng::seed_from_u64(seed) }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The sides of one round in this round's order.
    #[must_use]
    pub fn shuffled<T>(&mut self, sides: impl IntoIterator<Item = T>) -> Vec<T> {
        let mut sides: Vec<T> = sides.into_iter().collect();
        sides.shuffle(&mut self.random);
        sides
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_order_and_no_side_is_always_first() {
        let firsts = |seed| {
            let mut rounds = Rounds::new(seed, 20);
            (0..rounds.count()).map(|_| rounds.shuffled([1, 2, 3])[0]).collect::<Vec<_>>()
        };
        assert_eq!(firsts(7), firsts(7));
        assert!([1, 2, 3].iter().all(|side| firsts(7).contains(side)), "{:?}", firsts(7));
    }
}
