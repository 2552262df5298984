//! Medians, percentiles and the spread of a few rounds.

/// The middle and the two ends of some samples. With five rounds the ends say as much as any computed interval would.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle.
    pub median: f64,
    /// The smallest.
    pub low: f64,
    /// The largest.
    pub high: f64,
}

impl Spread {
    /// `None` without samples.
    #[must_use]
    pub fn of(samples: &[f64]) -> Option<Self> {
        let sorted = sorted(samples);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Self { median, low, high })
    }
}

/// The sample that `share` (0 to 1) of all samples don't exceed; 0 without samples.
#[must_use]
pub fn percentile(samples: &[f64], share: f64) -> f64 {
    let sorted = sorted(samples);
    let rank = (1..=sorted.len()).find(|rank| of(*rank) >= share * of(sorted.len()));
    rank.map_or(0.0, |rank| sorted[rank - 1])
}

/// A count as a number to divide by.
#[must_use]
pub fn of(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_lies_between_the_ends() {
        let spread = |samples: &[f64]| {
            Spread::of(samples).map(|spread| (spread.low, spread.median, spread.high))
        };
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[2.0]), Some((2.0, 2.0, 2.0)));
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((1.0, 2.0, 3.0)));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Some((1.0, 2.5, 4.0)));
    }

    #[test]
    fn a_percentile_is_one_of_the_samples() {
        let samples: Vec<f64> = (1..=200).map(of).collect();
        assert_eq!(percentile(&samples, 0.5).to_bits(), 100f64.to_bits());
        assert_eq!(percentile(&samples, 0.99).to_bits(), 198f64.to_bits());
        assert_eq!(percentile(&samples, 1.0).to_bits(), 200f64.to_bits());
        assert_eq!(percentile(&[], 0.5).to_bits(), 0f64.to_bits());
    }
}
