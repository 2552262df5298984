//! What a guard, its renewal and the work under it know of each other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use millrace_runtime::CancellationToken;
use millrace_runtime::sabotage::{self, Switch};
use tokio::time::Instant;

use crate::{FencingToken, Leases, metrics};

#[derive(Debug)]
pub(crate) struct Held {
    pub(super) leases: Leases,
    pub(super) name: &'static str,
    pub(super) token: FencingToken,
    pub(super) lost: CancellationToken,
    /// A sink has refused the token since the incarnation was raised last.
    refused: AtomicBool,
    // A std mutex: it is held for a copy, never over an await.
    progress: Mutex<Instant>,
}

impl Held {
    pub(super) fn new(leases: Leases, name: &'static str, token: FencingToken) -> Self {
        Self {
            leases,
            name,
            token,
            lost: CancellationToken::new(),
            refused: AtomicBool::new(false),
            progress: Mutex::new(Instant::now()),
        }
    }

    /// The work got on.
    pub(super) fn progress(&self) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// When it last did.
    pub(super) fn progressed(&self) -> Instant {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lease may end from now on: the work under it is cancelled and may begin no further transaction.
    pub(super) fn lose(&self) {
        metrics::LOST.with_label_values(&[self.name]).inc();
        if !sabotage::on(Switch::LeaseKeepAfterLoss) {
            self.lost.cancel();
        }
    }

    pub(super) fn refuse(&self) {
        self.refused.store(true, Ordering::SeqCst);
    }

    /// True once after each refusal: whoever gets it raises the incarnation.
    pub(super) fn must_raise(&self) -> bool {
        self.refused.swap(false, Ordering::SeqCst)
    }
}
