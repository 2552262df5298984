//! A process that freezes itself at a named place, as if the machine had taken its core away just there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FreezeAt {
    /// Right before the transaction of a unit is asked for. The write is one that outlives its guard.
    BeforeBegin,
    /// Inside the transaction, when the effect is written and not committed.
    BeforeCommit,
    /// Work is done and the lease is about to be given back.
    BeforeRelease,
}

#[derive(Debug, Clone)]
pub(super) struct Freezer {
    at: Option<FreezeAt>,
    passes: Arc<AtomicU32>,
}

impl Freezer {
    pub(super) fn new(at: Option<FreezeAt>, pass: u32) -> Self {
        Self { at, passes: Arc::new(AtomicU32::new(pass)) }
    }

    /// Whether the next pass of this place is the one.
    pub(super) fn is_due(&self, here: FreezeAt) -> bool {
        self.at == Some(here) && self.passes.load(Ordering::Relaxed) == 1
    }

    /// Counts a pass; at the chosen one the process stands still until somebody lets it go on.
    pub(super) fn pass(&self, here: FreezeAt) {
        if self.at != Some(here) {
            return;
        }
        let left = self
            .passes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left == Ok(1) {
            kill(Pid::this(), Signal::SIGSTOP).ok();
        }
    }
}
