//! A token bucket per key, kept as one instant a key.
//!
//! The algorithm is GCRA (ITU-T I.371): a key's «theoretical arrival time» moves one interval ahead with each
//! request, and a request is refused when that is more than the burst ahead of now. Keys whose time has passed
//! say the same as absent ones, so they are dropped when the map is full; if all are live, the new key is let
//! through uncounted rather than refused: a flood of strangers must not lock out a known caller.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Keys remembered at once.
const KEYS_MAX: usize = 100_000;

/// How many requests, how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quota {
    /// Requests a second in the long run; more than zero.
    pub per_second: f64,
    /// Requests that may come at once after a pause; at least 1.
    pub burst: u32,
}

/// What a request learns about its quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether the request may pass.
    pub allowed: bool,
    /// How many more may come right now.
    pub remaining: u32,
    /// When the next one may come; zero while some remain.
    pub retry_after: Duration,
    /// When the whole burst is there again.
    pub reset_after: Duration,
}

/// Limits by key within one process.
#[derive(Debug)]
pub struct RateLimit<K> {
    interval: Duration,
    quota: Quota,
    // A std mutex: held for one map access.
    arrivals: Mutex<HashMap<K, Instant>>,
}

impl<K: Eq + Hash> RateLimit<K> {
    /// No key has asked yet.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        let interval = Duration::from_secs_f64(1.0 / quota.per_second.max(1e-6));
        Self { interval, quota, arrivals: Mutex::default() }
    }

    /// The quota it keeps.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Takes one request of `key` into account.
    pub fn check(&self, key: K, now: Instant) -> Standing {
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let tolerance = self.interval * (self.quota.burst.max(1) - 1);
        let expected = arrivals.get(&key).copied().unwrap_or(now).max(now);
        let ahead = expected - now;
        if ahead > tolerance {
            return Standing {
                allowed: false,
                remaining: 0,
                retry_after: ahead - tolerance,
                reset_after: ahead,
            };
        }
        if arrivals.len() >= KEYS_MAX && !arrivals.contains_key(&key) {
            arrivals.retain(|_, arrival| *arrival > now);
        }
        let next = expected + self.interval;
        if arrivals.len() < KEYS_MAX || arrivals.contains_key(&key) {
            arrivals.insert(key, next);
        }
        let ahead = next - now;
        let room = (tolerance + self.interval).saturating_sub(ahead);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most the burst"
        )]
        let remaining = (room.as_secs_f64() / self.interval.as_secs_f64() + 1e-9) as u32;
        let retry_after = if remaining > 0 { Duration::ZERO } else { ahead - tolerance };
        Standing { allowed: true, remaining, retry_after, reset_after: ahead }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_requests_pass_at_the_rate() {
        let limit = RateLimit::new(Quota { per_second: 10.0, burst: 3 });
        let now = Instant::now();
        let remaining: Vec<u32> = (0..3).map(|_| limit.check("a", now).remaining).collect();
        assert_eq!(remaining, [2, 1, 0]);
        let refused = limit.check("a", now);
        assert!(!refused.allowed);
        assert_eq!(refused.retry_after, Duration::from_millis(100));
        assert!(limit.check("a", now + refused.retry_after).allowed);
        assert!(limit.check("b", now).allowed, "another key has its own quota");
    }

    #[test]
    fn a_refused_request_costs_nothing() {
        let limit = RateLimit::new(Quota { per_second: 1.0, burst: 1 });
        let now = Instant::now();
        assert!(limit.check((), now).allowed);
        for _ in 0..10 {
            assert!(!limit.check((), now).allowed);
        }
        assert!(limit.check((), now + Duration::from_secs(1)).allowed);
    }
}
