//! The poll loop: the only one that talks to the client, and never waits for a handler.
//!
//! Each turn takes what arrived, puts it into the schedule, and then does what is due: takes partitions whose offsets
//! are known, stops and resumes their flow, commits, publishes letters, gives partitions back, tells the health. It has a
//! thread of its own, so neither a handler that computes for minutes nor a full runtime delays it.

mod commits;
mod drain;
mod epochs;
mod intake;
mod ownership;
mod posting;
mod renewal;
mod state;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_resilience::Backoff;
use millrace_runtime::{CancellationToken, Tasks};

use super::ConsumerEvent;
use super::call::Caller;
use super::control::Control;
use super::dispatch::Dispatch;
use super::health::{Board, Trouble};
use super::identity::Identity;
use super::instance;
use super::mode::Order;
use super::runner::{RecordDispatch, Runner};
use super::schedule::{Limits, Schedule};
use super::session::Session;
use crate::epoch::EpochStore;
use crate::{Handler, KafkaSettings, metrics};
use state::{Ended, State};

/// The longest that a poll waits for a record.
const POLL_WAIT: Duration = Duration::from_millis(100);
/// The same while something is waited for that comes from elsewhere: a resume, a drain, an answer.
const POLL_WAIT_BUSY: Duration = Duration::from_millis(5);

pub(super) struct PollLoop<H: Handler> {
    pub(super) settings: KafkaSettings,
    pub(super) identity: Arc<Identity>,
    pub(super) caller: Arc<Caller<H>>,
    pub(super) order: Order,
    pub(super) limits: Limits,
    pub(super) epochs: Option<Arc<dyn EpochStore>>,
    pub(super) control: Arc<Control>,
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
            let opened = Instant::now();
            match self.run_session(session) {
                Ended::Stopped => {}
                Ended::Broken(reason) => {
                    // A client that lived for a while is no sign of the next one's fate.
                    failures = if opened.elapsed() > backoff.max { 1 } else { failures + 1 };
                    self.in_trouble(failures, reason);
                    self.pause(backoff.wait(failures));
                }
                Ended::MadeAgain(topic) => {
                    let Identity { group, broker_group, .. } = &*self.identity;
                    tracing::warn!(
                        group,
                        broker_group,
                        topic,
                        "topic was made again; consumer joins anew"
                    );
                    metrics::log_went_back(group, self.identity.origin.as_str());
                    self.board.owns(0, 0);
                    // A cluster whose brokers don't agree yet must not be asked in a circle.
                    self.pause(backoff.wait(1));
                }
                Ended::Fenced(reason) => {
                    self.board.event(ConsumerEvent::Fenced);
                    self.in_trouble(1, reason);
                    self.pause(backoff.max);
                    instance::wait_until_free(self);
                }
            }
        }
    }

    fn run_session(&self, session: Session) -> Ended {
        let started = Instant::now();
        let seats = std::thread::available_parallelism().map_or(2, usize::from).min(8);
        let dispatch = Arc::new(Dispatch::new(Schedule::new(self.limits), seats));
        self.control.attach(&dispatch);
        for seat in 0..seats {
            let (dispatch, caller) = (Arc::clone(&dispatch), Arc::clone(&self.caller));
            let name = format!("{} runner {seat}", self.identity.broker_group);
            drop(self.tasks.spawn(name, Runner { dispatch, caller, seat }.run()));
        }
        let mut state = State::new(self, session, Arc::clone(&dispatch));
        let ended = loop {
            if let Some(ended) = state.turn() {
                break ended;
            }
        };
        let closed = state.close();
        let Identity { group, broker_group, .. } = &*self.identity;
        if !closed {
            tracing::warn!(
                group,
                broker_group,
                "consumer did not leave its group in time; its session will time out"
            );
        }
        let seconds = started.elapsed().as_secs();
        tracing::info!(group, broker_group, seconds, "consumer closed");
        ended
    }

    pub(super) fn stopping(&self) -> bool {
        self.stop.is_cancelled() || self.unsupervised.is_cancelled()
    }

    pub(super) fn in_trouble(&self, failures: u32, reason: String) {
        let Identity { group, broker_group, .. } = &*self.identity;
        tracing::error!(
            group,
            broker_group,
            failures,
            reason,
            "consumer client ended and is opened again"
        );
        self.board.owns(0, 0);
        self.tell(Trouble { stalled: false, reason: Some(reason) });
    }

    /// Waits on the loop's own thread, while nothing else is there to be done.
    pub(super) fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        while Instant::now() < until && !self.stopping() {
            self.board.polled();
            std::thread::park_timeout(
                POLL_WAIT.min(until.saturating_duration_since(Instant::now())),
            );
        }
    }
}

/// Shared by the loop's rooms.
type SharedDispatch = Arc<RecordDispatch>;
