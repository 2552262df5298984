//! The poll loop: the only one that talks to the client, and never waits for a handler.
//!
//! Each turn takes what arrived, hands it to the workers, and then does what is due: pauses and resumes, answers to
//! revocations, commits, the health. A revocation, and a stop, is a [`drain::Drain`]: its workers finish what they have in
//! hand, their offsets are committed, and only then the partitions are given back; meanwhile the others flow.

mod drain;
mod state;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_resilience::Backoff;
use millrace_runtime::{CancellationToken, Tasks};

use super::health::{Board, Trouble};
use super::identity::Identity;
use super::session::Session;
use crate::{Handler, KafkaSettings, Producer};
use state::{Ended, State};

/// The longest that a poll waits for a record.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// The same while a worker's progress is waited for, to resume or to drain.
const POLL_WAIT_BUSY: Duration = Duration::from_millis(5);

pub(super) struct PollLoop<H: Handler> {
    pub(super) settings: KafkaSettings,
    pub(super) identity: Arc<Identity>,
    pub(super) handler: Arc<H>,
    pub(super) producer: Producer,
    pub(super) board: Arc<Board>,
    pub(super) tasks: Tasks,
    pub(super) stop: CancellationToken,
    pub(super) unsupervised: CancellationToken,
}

impl<H: Handler> PollLoop<H> {
    /// Polls until the stop; a client that ends fatally is replaced.
    pub(super) fn run(&self, first: Session) {
        let mut next = Some(first);
        let mut failures = 0;
        let backoff = Backoff::STANDARD;
        while !self.stopping() {
            let session =
                match next.take().map_or_else(|| Session::open(&self.settings, &self.identity), Ok)
                {
                    Ok(session) => session,
                    Err(error) => {
                        failures += 1;
                        self.in_trouble(failures, format!("the client was not created: {error}"));
                        self.pause(backoff.wait(failures));
                        continue;
                    }
                };
            if let Ended::Broken(reason) = self.run_session(session) {
                failures += 1;
                self.in_trouble(failures, reason);
                self.pause(backoff.wait(failures));
            }
        }
    }

    fn run_session(&self, session: Session) -> Ended {
        let started = Instant::now();
        let mut state = State::new(self, session);
        let ended = loop {
            if let Some(ended) = state.turn() {
                break ended;
            }
        };
        let closed = state.close();
        let Identity { group, topic, .. } = &*self.identity;
        if !closed {
            tracing::warn!(
                group,
                topic,
                "consumer did not leave its group in time; its session will time out"
            );
        }
        let seconds = started.elapsed().as_secs();
        tracing::info!(group, topic, seconds, "consumer closed");
        ended
    }

    fn stopping(&self) -> bool {
        self.stop.is_cancelled() || self.unsupervised.is_cancelled()
    }

    fn in_trouble(&self, failures: u32, reason: String) {
        let Identity { group, topic, .. } = &*self.identity;
        tracing::error!(
            group,
            topic,
            failures,
            reason,
            "consumer client ended and is opened again"
        );
        self.board.owns(0, 0);
        self.board.set_trouble(Trouble { stalled: false, reason: Some(reason) });
    }

    /// Waits on the loop's own thread, while nothing else is there to be done.
    fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.stopping() {
            self.board.polled();
            std::thread::park_timeout(
                POLL_WAIT.min(until.saturating_duration_since(Instant::now())),
            );
        }
    }
}
