//! The books of a contest: who had the lock when, and whether anybody ever had it beside somebody else.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use millrace_benches::statistics::of;
use tokio::time::Instant;

/// What one contender had of the contest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Share {
    /// Turns that it was given.
    pub(crate) served: usize,
    /// Its longest wait, the last one in vain included.
    pub(crate) worst_wait: Duration,
    /// Asked for and not given, though there was time.
    pub(crate) failed: usize,
}

/// When the contest is counted: connections and the subscription open before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: Instant,
    pub(crate) end: Instant,
}

/// What all contenders share.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    held: AtomicBool,
    token: AtomicI64,
    broken: Mutex<Option<String>>,
    /// Time between coming in and going out, in nanoseconds, and how often.
    held_nanos: AtomicU64,
    turns: AtomicU64,
}

/// A contest's result.
#[derive(Debug)]
pub(crate) struct Contest {
    pub(crate) turns_per_second: f64,
    /// Turns of the one who was served most, over those of the one served least.
    pub(crate) most_to_least: f64,
    pub(crate) worst_wait: Duration,
    /// The mean time that the lock was held.
    pub(crate) hold: Duration,
    pub(crate) failed: usize,
    pub(crate) broken: Option<String>,
}

impl Span {
    pub(crate) fn after(warm_up: Duration, length: Duration) -> Self {
        let from = Instant::now() + warm_up;
        Self { from, end: from + length }
    }
}

impl Share {
    /// Notes a wait that began at `asked` and is over.
    pub(crate) fn note(&mut self, span: Span, asked: Instant, served: bool) {
        if asked < span.from {
            return;
        }
        self.worst_wait = self.worst_wait.max(asked.elapsed());
        // A turn that began after the end belongs to nobody's count.
        let in_time = Instant::now() < span.end;
        self.served += usize::from(served && in_time);
        self.failed += usize::from(!served && in_time);
    }
}

impl Arena {
    /// Somebody has the lock, with a token if it has tokens.
    pub(crate) fn enter(&self, token: Option<i64>) -> Instant {
        if self.held.swap(true, Ordering::SeqCst) {
            self.break_promise("two had the lock at once".to_owned());
        }
        if let Some(token) = token {
            let last = self.token.swap(token, Ordering::SeqCst);
            if token <= last {
                self.break_promise(format!("token {token} came after {last}"));
            }
        }
        Instant::now()
    }

    /// It is about to give it back.
    pub(crate) fn leave(&self, entered: Instant) {
        let nanos = u64::try_from(entered.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.held_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.held.store(false, Ordering::SeqCst);
    }

    pub(crate) fn break_promise(&self, how: String) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(how);
    }

    /// What came of it.
    pub(crate) fn result(&self, shares: &[Share], length: Duration) -> Contest {
        let served = shares.iter().map(|share| share.served);
        let all: usize = served.clone().sum();
        let (most, least) = (served.clone().max().unwrap_or(0), served.min().unwrap_or(0));
        let turns = self.turns.load(Ordering::Relaxed).max(1);
        Contest {
            turns_per_second: of(all) / length.as_secs_f64(),
            // Somebody who was never served makes it as bad as it can be told.
            most_to_least: of(most) / of(least.max(1)),
            worst_wait: shares.iter().map(|share| share.worst_wait).max().unwrap_or_default(),
            hold: Duration::from_nanos(self.held_nanos.load(Ordering::Relaxed) / turns),
            failed: shares.iter().map(|share| share.failed).sum(),
            broken: self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_and_a_lower_token_break_the_promise() {
        let two = Arena::default();
        two.enter(None);
        two.enter(None);
        assert!(two.result(&[], Duration::from_secs(1)).broken.is_some());
        let lower = Arena::default();
        let entered = lower.enter(Some(7));
        lower.leave(entered);
        assert_eq!(lower.result(&[], Duration::from_secs(1)).broken, None);
        let entered = lower.enter(Some(7));
        lower.leave(entered);
        let broken = lower.result(&[], Duration::from_secs(1)).broken;
        assert_eq!(broken.as_deref(), Some("token 7 came after 7"));
    }

    #[test]
    fn the_result_is_of_the_most_and_the_least_served() {
        let share = |served, wait| Share {
            served,
            worst_wait: Duration::from_millis(wait),
            ..Share::default()
        };
        let shares = [share(30, 5), share(20, 9), share(25, 1)];
        let contest = Arena::default().result(&shares, Duration::from_secs(3));
        assert!((contest.most_to_least - 1.5).abs() < 1e-9);
        assert!((contest.turns_per_second - 25.0).abs() < 1e-9);
        assert_eq!(contest.worst_wait, Duration::from_millis(9));
    }
}
