//! Waits that grow and are spread, so that many clients don't come back at the same instant.

use std::time::Duration;

use rand::RngExt;

/// How long to wait before attempt 2, 3, ...
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The first wait.
    pub initial: Duration,
    /// No wait is longer.
    pub max: Duration,
    /// Each wait is the one before times this.
    pub factor: f64,
    /// The share of a wait that is drawn by chance, 0.0 to 1.0.
    pub jitter: f64,
}

impl Backoff {
    /// 100 ms to 10 s, doubling, half of it drawn by chance.
    pub const STANDARD: Self = Self {
        initial: Duration::from_millis(100),
        max: Duration::from_secs(10),
        factor: 2.0,
        jitter: 0.5,
    };

    /// The wait after `failures` failures in a row (1 = the first), drawn from the thread's generator.
    #[must_use]
    pub fn wait(&self, failures: u32) -> Duration {
        self.wait_drawn(failures, rand::rng().random::<f64>())
    }

    /// The wait for a given draw of 0.0 to 1.0.
    #[must_use]
    pub fn wait_drawn(&self, failures: u32, draw: f64) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.initial.as_secs_f64() * self.factor.powi(exponent);
        let full = grown.min(self.max.as_secs_f64());
        Duration::from_secs_f64(full * (1.0 - self.jitter * draw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_maximum_and_stay_there() {
        let waits: Vec<u128> = [1, 2, 3, 8, 9, u32::MAX]
            .map(|n| Backoff::STANDARD.wait_drawn(n, 0.0).as_millis())
            .into();
        assert_eq!(waits, [100, 200, 400, 10_000, 10_000, 10_000]);
    }

    #[test]
    fn jitter_only_shortens_a_wait_and_at_most_by_its_share() {
        assert_eq!(Backoff::STANDARD.wait_drawn(1, 1.0), Duration::from_millis(50));
    }
}
