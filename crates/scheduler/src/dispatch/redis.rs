//! How long Redis has been away, as far as this instance knows, and what has been said about it.

use std::time::{Duration, Instant};

use millrace_coordination::RedisError;
use millrace_telemetry::error_chain;

/// Whether to wait for Redis a little longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// A holder's lease may still last.
    Left,
    /// It has been away for longer than a lease lasts.
    Gone,
}

#[derive(Debug)]
pub(super) struct RedisWatch {
    lease_ttl: Duration,
    /// Since when it gives no answer.
    silent_since: Option<Instant>,
    /// The lease was just lost, which takes most of its time without an answer.
    lost: bool,
    said: Option<&'static str>,
}

impl RedisWatch {
    pub(super) fn new(lease_ttl: Duration) -> Self {
        Self { lease_ttl, silent_since: None, lost: false, said: None }
    }

    /// It gave an answer.
    pub(super) fn answered(&mut self) {
        self.silent_since = None;
        self.lost = false;
        if self.said.take().is_some() {
            tracing::info!("Redis is back, scheduled tasks are dispatched under the lease again");
        }
    }

    /// The lease was lost, for whatever reason.
    pub(super) fn lost(&mut self) {
        self.lost = true;
    }

    /// It gave none.
    pub(super) fn silent(&mut self, error: &RedisError) -> Patience {
        let now = Instant::now();
        let since = *self.silent_since.get_or_insert_with(|| {
            let error = error_chain(error);
            tracing::warn!(error, "Redis doesn't answer, scheduled tasks wait");
            // Nine tenths of the lease's time have passed without an answer when it counts as lost.
            let before = if self.lost { self.lease_ttl / 10 * 9 } else { Duration::ZERO };
            now.checked_sub(before).unwrap_or(now)
        });
        if now.duration_since(since) > self.lease_ttl { Patience::Gone } else { Patience::Left }
    }

    /// Says it once for each time that Redis is away.
    pub(super) fn say(&mut self, words: &'static str) {
        if self.said.replace(words).is_none() {
            tracing::warn!("{words}");
        }
    }
}
