//! A stop in phases.
//!
//! The order is the promise: a service first says that it is not ready, keeps accepting while load balancers
//! notice, then closes its listener, finishes requests, drains consumers, jobs and the relay, and only then
//! closes its pools. Each phase is a token; whoever belongs to a phase waits on its token.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// The phases of one service's stop. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    stopping: Arc<AtomicBool>,
    requested: CancellationToken,
    workers: CancellationToken,
}

impl Shutdown {
    /// Nothing is stopping yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the service to stop; harmless when asked twice.
    pub fn request(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.requested.cancel();
    }

    /// True from the moment a stop was asked for: readiness answers «no» from here on.
    #[must_use]
    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Ends when a stop was asked for.
    pub async fn requested(&self) {
        self.requested.cancelled().await;
    }

    /// The token that consumers, jobs and the relay wait on; it is cancelled after the last HTTP request.
    #[must_use]
    pub fn workers(&self) -> CancellationToken {
        self.workers.clone()
    }

    /// Starts the phase in which consumers, jobs and the relay finish what they hold.
    pub fn stop_workers(&self) {
        self.workers.cancel();
    }
}
