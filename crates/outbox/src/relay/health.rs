//! What the health page and the metrics say of the relay.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A view on a relay that stays valid while it runs. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct RelayHealth(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    connected: bool,
    backlog: i64,
    oldest: Duration,
    held: usize,
    set_aside: i64,
    last_pass: Option<Instant>,
}

/// The relay at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RelayStatus {
    /// It has a database session.
    pub connected: bool,
    /// Rows waiting when last measured; counting stops at 100,000.
    pub backlog: i64,
    /// Age of the oldest waiting row when last measured.
    pub oldest: Duration,
    /// Aggregates held back because their last row failed.
    pub held_aggregates: usize,
    /// Aggregates that were set aside when last measured, and wait for an operator.
    pub set_aside: i64,
    /// Since the last finished pass; `None` before the first.
    pub last_pass: Option<Duration>,
}

impl RelayHealth {
    /// Now.
    #[must_use]
    pub fn status(&self) -> RelayStatus {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        RelayStatus {
            connected: state.connected,
            backlog: state.backlog,
            oldest: state.oldest,
            held_aggregates: state.held,
            set_aside: state.set_aside,
            last_pass: state.last_pass.map(|at| at.elapsed()),
        }
    }

    pub(super) fn connected(&self, connected: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).connected = connected;
    }

    pub(super) fn measured(&self, backlog: i64, oldest: Duration, set_aside: i64) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.backlog = backlog;
        state.oldest = oldest;
        state.set_aside = set_aside;
    }

    pub(super) fn passed(&self, held: usize) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.held = held;
        state.last_pass = Some(Instant::now());
    }
}
