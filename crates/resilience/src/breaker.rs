//! A circuit breaker: stops calling an upstream that keeps failing, and tries it again with a few calls.
//!
//! Closed: calls flow and the last `window` outcomes are kept; at `volume` outcomes or more, a failure ratio of
//! `ratio` opens it. Open: calls are refused until `open_for` has passed. Half-open: `probes` calls may try; one
//! failure opens it again, that many successes close it. The outcome of a call that started before a change of
//! state is not counted, so late failures can't open a circuit that has just closed.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When to open and how to try again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerPolicy {
    /// How many outcomes are looked back on.
    pub window: usize,
    /// Fewer outcomes than this never open it.
    pub volume: usize,
    /// The share of failures that opens it, 0.0 to 1.0.
    pub ratio: f64,
    /// How long it stays open.
    pub open_for: Duration,
    /// How many calls may try while it is half-open.
    pub probes: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { window: 10, volume: 5, ratio: 0.5, open_for: Duration::from_secs(5), probes: 2 }
    }
}

/// What the breaker is doing, for metrics and health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls flow.
    Closed,
    /// A few calls may try.
    HalfOpen,
    /// Calls are refused.
    Open,
}

/// The call is refused; come back after this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("circuit is open for another {} ms", retry_after.as_millis())]
pub struct Refused {
    /// When a call may be tried again.
    pub retry_after: Duration,
}

/// Leave to make one call; report its outcome with it.
#[derive(Debug)]
#[must_use = "the breaker learns only from reported outcomes"]
pub struct Permit {
    generation: u64,
}

/// A breaker for one upstream, shared by all its callers.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    // A std mutex: held for a few lines without an await.
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    generation: u64,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Closed { outcomes: VecDeque<bool> },
    Open { until: Instant },
    HalfOpen { started: u32, succeeded: u32, since: Instant },
}

impl Breaker {
    /// A closed breaker.
    #[must_use]
    pub fn new(policy: BreakerPolicy) -> Self {
        let phase = Phase::Closed { outcomes: VecDeque::with_capacity(policy.window) };
        Self { policy, inner: Mutex::new(Inner { generation: 0, phase }) }
    }

    /// Asks to make a call.
    ///
    /// # Errors
    /// [`Refused`] while open, or half-open with all probes under way.
    pub fn enter(&self, now: Instant) -> Result<Permit, Refused> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Phase::Open { until } = inner.phase {
            if now < until {
                return Err(Refused { retry_after: until - now });
            }
            inner.turn(Phase::HalfOpen { started: 0, succeeded: 0, since: now });
        }
        let (policy, generation) = (self.policy, inner.generation);
        if let Phase::HalfOpen { started, succeeded, since } = &mut inner.phase {
            // A probe whose caller went away never reports; after `open_for` its place is given to another.
            if *started >= policy.probes && now.duration_since(*since) >= policy.open_for {
                *started = *succeeded;
                *since = now;
            }
            if *started >= policy.probes {
                return Err(Refused { retry_after: policy.open_for });
            }
            *started += 1;
        }
        Ok(Permit { generation })
    }

    /// Reports how the call went.
    pub fn report(&self, permit: Permit, succeeded: bool, now: Instant) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if permit.generation != inner.generation {
            return;
        }
        let next = match &mut inner.phase {
            Phase::Closed { outcomes } => {
                if outcomes.len() == self.policy.window {
                    outcomes.pop_front();
                }
                outcomes.push_back(succeeded);
                self.too_many_failures(outcomes).then(|| self.open(now))
            }
            Phase::HalfOpen { .. } if !succeeded => Some(self.open(now)),
            Phase::HalfOpen { succeeded, .. } => {
                *succeeded += 1;
                (*succeeded >= self.policy.probes).then(|| Phase::Closed {
                    outcomes: VecDeque::with_capacity(self.policy.window),
                })
            }
            Phase::Open { .. } => None,
        };
        if let Some(phase) = next {
            inner.turn(phase);
        }
    }

    /// The state now.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match self.inner.lock().unwrap_or_else(PoisonError::into_inner).phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
            Phase::Open { .. } => BreakerState::Open,
        }
    }

    fn open(&self, now: Instant) -> Phase {
        Phase::Open { until: now + self.policy.open_for }
    }

    fn too_many_failures(&self, outcomes: &VecDeque<bool>) -> bool {
        let failures = outcomes.iter().filter(|succeeded| !**succeeded).count();
        #[expect(clippy::cast_precision_loss, reason = "a window has a few dozen outcomes")]
        let ratio = failures as f64 / outcomes.len() as f64;
        outcomes.len() >= self.policy.volume && ratio >= self.policy.ratio
    }
}

impl Inner {
    fn turn(&mut self, phase: Phase) {
        self.generation += 1;
        self.phase = phase;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(breaker: &Breaker, succeeded: bool, now: Instant) -> bool {
        breaker.enter(now).map(|permit| breaker.report(permit, succeeded, now)).is_ok()
    }

    #[test]
    fn it_opens_at_half_failures_of_enough_calls_and_closes_after_good_probes() {
        let (breaker, now) = (Breaker::new(BreakerPolicy::default()), Instant::now());
        for succeeded in [true, true, false, false] {
            assert!(call(&breaker, succeeded, now));
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(call(&breaker, false, now));
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.enter(now).unwrap_err().retry_after, Duration::from_secs(5));
        let later = now + Duration::from_secs(5);
        let (first, second) = (breaker.enter(later).unwrap(), breaker.enter(later).unwrap());
        assert!(breaker.enter(later).is_err(), "only two probes at once");
        breaker.report(first, true, later);
        breaker.report(second, true, later);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_again_and_late_outcomes_change_nothing() {
        let (breaker, now) = (Breaker::new(BreakerPolicy::default()), Instant::now());
        let late = breaker.enter(now).unwrap();
        for _ in 0..5 {
            assert!(call(&breaker, false, now));
        }
        let later = now + Duration::from_secs(6);
        assert!(call(&breaker, false, later));
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker.report(late, true, later);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn a_probe_that_never_reports_does_not_block_the_circuit_for_good() {
        let (breaker, now) = (Breaker::new(BreakerPolicy::default()), Instant::now());
        for _ in 0..5 {
            assert!(call(&breaker, false, now));
        }
        let half_open = now + Duration::from_secs(5);
        let _lost = (breaker.enter(half_open).unwrap(), breaker.enter(half_open).unwrap());
        let later = half_open + Duration::from_secs(5);
        assert!(call(&breaker, true, later));
        assert!(call(&breaker, true, later));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
