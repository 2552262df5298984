//! What an operator may change while the consumer runs, without a rebalance.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use super::runner::RecordDispatch;

/// The wishes, and the schedule they hold for now. A session that comes later takes them over.
#[derive(Debug)]
pub(super) struct Control {
    concurrency: AtomicUsize,
    paused: AtomicBool,
    dispatch: Mutex<Weak<RecordDispatch>>,
}

impl Control {
    pub(super) fn new(concurrency: usize) -> Self {
        let paused = AtomicBool::new(false);
        Self { concurrency: AtomicUsize::new(concurrency), paused, dispatch: Mutex::default() }
    }

    pub(super) fn concurrency(&self) -> usize {
        self.concurrency.load(Ordering::Relaxed)
    }

    pub(super) fn paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub(super) fn set_concurrency(&self, calls: usize) {
        self.concurrency.store(calls.max(1), Ordering::Relaxed);
        self.apply();
    }

    pub(super) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
        self.apply();
    }

    /// From now on the wishes hold for this schedule.
    pub(super) fn attach(&self, dispatch: &Arc<RecordDispatch>) {
        *self.dispatch.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(dispatch);
        self.apply();
    }

    fn apply(&self) {
        let dispatch = self.dispatch.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(dispatch) = dispatch {
            dispatch.with(|schedule| {
                schedule.set_concurrency(self.concurrency());
                schedule.set_paused(self.paused(), Instant::now());
            });
        }
    }
}
