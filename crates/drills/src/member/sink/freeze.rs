//! A member that stops itself at the worst place.

use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, raise};

/// Passes that are left until the member freezes itself; zero is never.
#[derive(Debug)]
pub(super) struct Freeze(AtomicU32);

impl Freeze {
    pub(super) fn at(pass: u32) -> Self {
        Self(AtomicU32::new(pass))
    }

    /// Counts one pass. The conductor sees the member stopped and lets it go on when its session is over.
    pub(super) fn pass(&self) {
        let left =
            self.0.try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left == Ok(1)
            && let Err(error) = raise(Signal::SIGSTOP)
        {
            tracing::error!(%error, "the member could not freeze itself");
        }
    }
}
