//! What becomes of a record that failed: tried again in place, sent through the retry tiers, or given up.
//!
//! Whether trying again can help is the error's own answer ([`Class`]), never read from its text. The first few
//! repeats happen in place, because most failures are over in a moment. After that the handler's promise decides:
//! one to which order doesn't matter lets the record wait on retry topics while others pass; for all others the
//! record stays where it is, with growing waits, because whatever waited elsewhere would be overtaken by its own
//! successors. This module only decides: it holds no counter, reads no clock and publishes nothing.
//! Durable parking by key will be one more [`Next`].

use std::time::Duration;

use millrace_envelope::{ErrorCode, RetryTier};
use millrace_resilience::{Backoff, Class};

/// Not even a policy without waits lets a failing record take a whole core.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// How a consumer deals with records that fail. The default never gives a transient failure up while order matters.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Repeats in place before a record goes to the retry topics.
    pub immediate: u32,
    /// The waits between repeats in place; they grow with each failure.
    pub backoff: Backoff,
    /// A record that still fails so long after its first failure is given up. `None` lets a handler that keeps order
    /// try for as long as it takes; retry topics end by themselves.
    pub give_up_after: Option<Duration>,
    /// Error codes whose records go another way than their class says.
    pub routes: Vec<(&'static ErrorCode, Route)>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { immediate: 3, backoff: Backoff::STANDARD, give_up_after: None, routes: Vec::new() }
    }
}

/// The way of records that fail with a certain code, whatever the error's class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Given up at the first failure.
    DeadLetter,
    /// At the first failure to this tier, or to the next one when it was there already.
    Tier(RetryTier),
    /// Tried in place until it succeeds or the time to give up has come.
    InPlace,
}

/// Why a policy makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetryPolicyError {
    /// Tiers let others overtake, which a consumer that keeps order promises not to happen.
    #[error("route of `{code}` leads to a retry topic, but the consumer keeps order")]
    TierKeepsNoOrder {
        /// The routed code.
        code: &'static str,
    },
    /// Two routes for one code.
    #[error("code `{code}` has more than one route")]
    RoutedTwice {
        /// The routed code.
        code: &'static str,
    },
    /// Waits that shrink, or parts that are no number.
    #[error(
        "backoff must have a factor of at least 1, a jitter of 0 to 1, and initial not above max"
    )]
    Backoff,
}

/// One failure of one record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failed<'a> {
    pub(super) class: Class,
    pub(super) code: &'a ErrorCode,
    /// How often it was handed over, on all topics together and this time included.
    pub(super) attempt: u32,
    /// The tier whose topic it was read from.
    pub(super) tier: Option<RetryTier>,
    pub(super) first_failure_ms: i64,
    pub(super) now_ms: i64,
}

/// What happens to the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The same record once more, after the wait; its key, or its partition, stands still meanwhile.
    Again { wait: Duration },
    /// To the retry topic of this tier; the record is settled when the letter is.
    Tier(RetryTier),
    /// To the dead-letter topic.
    Dead,
}

impl RetryPolicy {
    /// Whether the policy fits a consumer that keeps order, or one that doesn't.
    ///
    /// # Errors
    /// The first thing that makes no sense.
    pub fn check(&self, order_free: bool) -> Result<(), RetryPolicyError> {
        let Backoff { initial, max, factor, jitter } = self.backoff;
        // Written so that a part that is not a number fails too.
        let sane = factor >= 1.0 && (0.0..=1.0).contains(&jitter) && initial <= max;
        if !sane || !factor.is_finite() {
            return Err(RetryPolicyError::Backoff);
        }
        for (index, (code, route)) in self.routes.iter().enumerate() {
            if !order_free && matches!(route, Route::Tier(_)) {
                return Err(RetryPolicyError::TierKeepsNoOrder { code: code.code });
            }
            if self.routes[..index].iter().any(|(earlier, _)| earlier.code == code.code) {
                return Err(RetryPolicyError::RoutedTwice { code: code.code });
            }
        }
        Ok(())
    }

    /// Decides, with the wait's jitter drawn by chance. `order_free` is the handler's word that order doesn't matter.
    pub(super) fn next(&self, order_free: bool, failed: &Failed<'_>) -> Next {
        self.decide(order_free, failed, |failures| self.backoff.wait(failures))
    }

    /// The same with a draw of 0.0 to 1.0 given.
    #[cfg(test)]
    fn next_drawn(&self, order_free: bool, failed: &Failed<'_>, draw: f64) -> Next {
        self.decide(order_free, failed, |failures| self.backoff.wait_drawn(failures, draw))
    }

    fn decide(
        &self,
        order_free: bool,
        failed: &Failed<'_>,
        wait: impl Fn(u32) -> Duration,
    ) -> Next {
        let left = self.left(failed);
        if left == Some(Duration::ZERO) {
            return Next::Dead;
        }
        // The last try falls on the end of the time, not behind it.
        let again = || {
            let wait = wait(failed.attempt).max(WAIT_MIN);
            Next::Again { wait: left.map_or(wait, |left| wait.min(left)) }
        };
        let tier = |first| {
            let next =
                RetryTier::ALL.into_iter().find(|at| *at >= first && Some(*at) > failed.tier);
            next.map_or(Next::Dead, Next::Tier)
        };
        match (self.route(failed.code), failed.class) {
            (Some(Route::DeadLetter), _) | (None, Class::Permanent) => Next::Dead,
            (Some(Route::Tier(first)), _) if order_free => tier(first),
            (Some(Route::Tier(_) | Route::InPlace), _) => again(),
            (None, Class::Transient) => {
                let in_place = failed.tier.is_none() && failed.attempt <= self.immediate;
                if order_free && !in_place { tier(RetryTier::OneSecond) } else { again() }
            }
        }
    }

    /// The time until the record is given up; `None` is forever. A first failure in the future, of a machine whose
    /// clock is ahead, counts as now.
    fn left(&self, failed: &Failed<'_>) -> Option<Duration> {
        let elapsed_ms = failed.now_ms.saturating_sub(failed.first_failure_ms).max(0);
        let elapsed = Duration::from_millis(elapsed_ms.unsigned_abs());
        // Rounded down to what clocks here count: less than a millisecond would be waited for and then be left again.
        let left = self.give_up_after?.saturating_sub(elapsed);
        Some(if left < WAIT_MIN { Duration::ZERO } else { left })
    }

    fn route(&self, code: &ErrorCode) -> Option<Route> {
        self.routes.iter().find(|(routed, _)| routed.code == code.code).map(|(_, route)| *route)
    }
}

#[cfg(test)]
mod tests;
