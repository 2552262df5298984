//! What the health page says of the dispatcher.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics;

/// What an instance does about dispatching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// It waits for the lease.
    #[default]
    Standby,
    /// It dispatches under the lease.
    Leading,
    /// Redis is away; it dispatches without a lease, and others may too.
    Unleased,
    /// Redis is away, and by the settings nothing is dispatched.
    WithoutRedis,
}

/// A view on a dispatcher that stays valid while it runs. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct DispatcherHealth(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    role: Role,
    failing: bool,
    last_look: Option<Instant>,
}

/// The dispatcher at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DispatcherStatus {
    /// What it does.
    pub role: Role,
    /// Its last look had no effect because something failed.
    pub failing: bool,
    /// Since its last look that succeeded; `None` before the first.
    pub last_look: Option<Duration>,
}

impl DispatcherStatus {
    /// Whether this instance does what it should: dispatch, or wait for its turn.
    #[must_use]
    pub fn healthy(&self) -> bool {
        !self.failing && self.role != Role::WithoutRedis
    }
}

impl DispatcherHealth {
    /// Now.
    #[must_use]
    pub fn status(&self) -> DispatcherStatus {
        let state = self.lock();
        DispatcherStatus {
            role: state.role,
            failing: state.failing,
            last_look: state.last_look.map(|at| at.elapsed()),
        }
    }

    pub(super) fn role(&self, role: Role) {
        let active = matches!(role, Role::Leading | Role::Unleased);
        metrics::ACTIVE.set(i64::from(active));
        let mut state = self.lock();
        state.role = role;
        // Who waits for a turn has nothing that could fail.
        state.failing &= active;
    }

    pub(super) fn looked(&self, well: bool) {
        let mut state = self.lock();
        state.failing = !well;
        if well {
            state.last_look = Some(Instant::now());
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
