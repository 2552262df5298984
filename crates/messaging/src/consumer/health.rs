//! How a consumer does: written by its poll loop and calls, read by the health page and whoever wants its events.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::broadcast;
use tracing::Span;

use super::failure::Failure;
use super::identity::Identity;
use super::lanes::Item;
use super::letters::Letter;
use super::outbound::Outbound;
use super::{ConsumerEvent, log_pace::LogPace};
use crate::message::RawRecord;
use crate::{codes, metrics};

/// Events that a slow listener may be behind before it loses the oldest.
const EVENTS_MAX: usize = 256;

/// How one consumer does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerHealth {
    /// Its poll loop runs.
    pub running: bool,
    /// Records of its partitions that are not finished, as far as the broker was asked.
    pub lag: i64,
    /// Partitions it owns.
    pub partition_count: usize,
    /// Time since its last poll.
    pub last_poll: Duration,
    /// Records wait, none is handed over, and no pause, retry or outage explains it: a restart may help.
    pub stalled: bool,
    /// Records it sent to the dead-letter topic since the start.
    pub dead_lettered: u64,
    /// Records that came again after a restart or a rebalance and were not handed over: the map beside the committed
    /// offset said that they are finished.
    pub left_out: u64,
    /// What keeps it from work, in words; `None` when nothing does.
    pub reason: Option<String>,
}

impl ConsumerHealth {
    /// Of two loops of one consumer: the sums, and the worse of each.
    pub(super) fn with(self, other: Self) -> Self {
        Self {
            running: self.running && other.running,
            lag: self.lag + other.lag,
            partition_count: self.partition_count,
            last_poll: self.last_poll.max(other.last_poll),
            stalled: self.stalled || other.stalled,
            dead_lettered: self.dead_lettered + other.dead_lettered,
            left_out: self.left_out + other.left_out,
            reason: self.reason.or(other.reason),
        }
    }
}

#[derive(Debug)]
pub(super) struct Board {
    started: Instant,
    stall_limit: Duration,
    running: AtomicBool,
    last_poll_ms: AtomicU64,
    lag: AtomicI64,
    partition_count: AtomicUsize,
    dead_lettered: AtomicU64,
    left_out: AtomicU64,
    events: broadcast::Sender<ConsumerEvent>,
    pace: LogPace,
    // A std mutex: held to read or replace a short text.
    trouble: Mutex<Trouble>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) stalled: bool,
    pub(super) reason: Option<String>,
}

impl Board {
    pub(super) fn new(stall_limit: Duration) -> Self {
        Self {
            started: Instant::now(),
            stall_limit,
            running: AtomicBool::new(true),
            last_poll_ms: AtomicU64::new(0),
            lag: AtomicI64::new(0),
            partition_count: AtomicUsize::new(0),
            dead_lettered: AtomicU64::new(0),
            left_out: AtomicU64::new(0),
            events: broadcast::channel(EVENTS_MAX).0,
            pace: LogPace::default(),
            trouble: Mutex::default(),
        }
    }

    pub(super) fn polled(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_poll_ms.store(elapsed, Ordering::Relaxed);
    }

    pub(super) fn stopped(&self) {
        self.running.store(false, Ordering::Relaxed);
        self.partition_count.store(0, Ordering::Relaxed);
    }

    pub(super) fn owns(&self, partitions: usize, lag: i64) {
        self.partition_count.store(partitions, Ordering::Relaxed);
        self.lag.store(lag, Ordering::Relaxed);
    }

    pub(super) fn events(&self) -> broadcast::Receiver<ConsumerEvent> {
        self.events.subscribe()
    }

    pub(super) fn event(&self, event: ConsumerEvent) {
        // An error says that nobody listens.
        drop(self.events.send(event));
    }

    /// Records that came again and were finished already, as the map beside the committed offset said.
    pub(super) fn left_out(&self, records: usize) {
        let records = u64::try_from(records).unwrap_or(u64::MAX);
        self.left_out.fetch_add(records, Ordering::Relaxed);
    }

    /// A record failed and goes on as `what_next` says. A record that keeps failing is told once a minute.
    pub(super) fn failed(
        &self,
        identity: &Identity,
        item: &Item<RawRecord>,
        failure: &Failure,
        span: &Span,
        what_next: &str,
    ) {
        if !self.pace.due(identity, item) {
            return;
        }
        let (group, topic) = (identity.group, item.record.topic.as_str());
        let (partition, offset, attempts) = (item.record.partition, item.offset, item.failures);
        let (code, reason) = (failure.code.code, failure.chain.as_str());
        if failure.code == &codes::HANDLER_PANICKED {
            tracing::error!(parent: span, group, topic, partition, offset, code, attempts, reason,
                "handler panicked on a record; {what_next}");
        } else {
            tracing::warn!(parent: span, group, topic, partition, offset, code, attempts, reason,
                "record failed for now; {what_next}");
        }
    }

    pub(super) fn recovered(&self, identity: &Identity, item: &Item<RawRecord>, span: &Span) {
        self.pace.forget(item);
        let (group, topic) = (identity.group, item.record.topic.as_str());
        let (partition, offset, attempts) = (item.record.partition, item.offset, item.failures + 1);
        tracing::info!(parent: span, group, topic, partition, offset, attempts,
            "record was handled after all");
    }

    /// A letter is where it belongs.
    pub(super) fn posted(&self, identity: &Identity, letter: &Outbound) {
        self.pace.forget(&letter.item);
        match letter.letter {
            Letter::Dead => self.dead_lettered(identity, letter),
            Letter::Tier(tier) => {
                metrics::tiered(identity.group, identity.origin.as_str(), tier.suffix());
            }
        }
    }

    pub(super) fn dead_lettered(&self, identity: &Identity, letter: &Outbound) {
        self.dead_lettered.fetch_add(1, Ordering::Relaxed);
        let (item, failure, span) = (&letter.item, &letter.failure, &letter.span);
        let (group, topic) = (identity.group, identity.origin.as_str());
        let (partition, offset, attempts) = (item.record.partition, item.offset, item.failures);
        tracing::warn!(parent: span, group, topic, partition, offset, code = failure.code.code, attempts,
            reason = failure.chain, "record went to the dead-letter topic");
        metrics::dead_lettered(group, topic, failure.code.code);
    }

    /// Replaces what is known of trouble; true when «stalled» changed.
    pub(super) fn set_trouble(&self, trouble: Trouble) -> bool {
        let mut current = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = current.stalled != trouble.stalled;
        *current = trouble;
        changed
    }

    pub(super) fn read(&self) -> ConsumerHealth {
        let running = self.running.load(Ordering::Relaxed);
        let last_poll = Duration::from_millis(self.last_poll_ms.load(Ordering::Relaxed));
        let last_poll = self.started.elapsed().saturating_sub(last_poll);
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // The loop that would report a stall may itself be the one that hangs.
        let loop_hangs = running && last_poll > self.stall_limit;
        let reason = if loop_hangs {
            Some("the poll loop does not poll".to_owned())
        } else if running {
            trouble.reason
        } else {
            Some("the consumer has ended".to_owned())
        };
        ConsumerHealth {
            running,
            lag: self.lag.load(Ordering::Relaxed),
            partition_count: self.partition_count.load(Ordering::Relaxed),
            last_poll,
            stalled: running && (trouble.stalled || loop_hangs),
            dead_lettered: self.dead_lettered.load(Ordering::Relaxed),
            left_out: self.left_out.load(Ordering::Relaxed),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_stopped_polling_is_stalled_although_it_can_not_say_so() {
        let board = Board::new(Duration::ZERO);
        let health = board.read();
        assert!(health.running && health.stalled, "{health:?}");
        board.stopped();
        let health = board.read();
        assert!(!health.running && !health.stalled, "{health:?}");
    }
}
