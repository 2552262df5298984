//! A bounded queue in front of a producer, for records that nobody waits for.
//!
//! [`ProducerQueue::offer`] never waits. A record that was accepted has one of these fates, and each is counted:
//! delivered; undelivered, and then given back to the queue's owner with the reason; dropped by the policy that the
//! owner chose; or left, and given back by [`ProducerQueue::close`]. The counts of one reading always add up.
//!
//! The client gets no more than `in_flight_max` of the queue's records at once: what it has can't be dropped or
//! replaced any more, so a policy works on what is still here, and memory is bounded by both.
//!
//! What is not promised: order between a record that comes back and those offered after it; and an undelivered
//! record may have reached the broker all the same, as always after a time-out.

mod line;
mod pump;
mod shell;
mod sync;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use millrace_envelope::{EncodedRecord, TopicName};
use rdkafka::Message as _;
use rdkafka::message::{BorrowedMessage, Headers as _};

pub use line::{OverflowPolicy, Refusal};

use super::outgoing::bytes_of;
use super::topic::Topic;
use super::{Producer, PublishError};
use crate::KafkaSettings;
use crate::metrics::{self, QueueCounts};
use line::{Bounds, Line, Waiting};
use pump::Pump;
use shell::Shell;

/// What a queue is called, holds, and does when it is full.
#[derive(Debug, Clone)]
pub struct QueueOptions {
    /// Its name in metrics and log lines.
    pub name: &'static str,
    /// What happens to one record more than there is room for.
    pub overflow: OverflowPolicy,
    /// Records that wait at most.
    pub records_max: usize,
    /// Bytes that wait at most.
    pub bytes_max: usize,
    /// Records that the client has at most.
    pub in_flight_max: usize,
}

impl QueueOptions {
    /// The bounds of the settings' `buffer_*` keys.
    #[must_use]
    pub fn new(name: &'static str, overflow: OverflowPolicy, settings: &KafkaSettings) -> Self {
        Self {
            name,
            overflow,
            records_max: settings.buffer_records_max,
            bytes_max: usize::try_from(settings.buffer_bytes_max.as_u64()).unwrap_or(usize::MAX),
            in_flight_max: settings.buffer_in_flight_max,
        }
    }
}

/// A record that the queue did not take in.
#[derive(Debug, thiserror::Error)]
#[error("record for `{}` was not taken in", record.topic)]
pub struct Refused {
    /// The record, untouched.
    pub record: EncodedRecord,
    /// Why.
    #[source]
    pub reason: Refusal,
}

/// A record that was accepted and not acknowledged.
#[derive(Debug)]
pub struct Undelivered {
    /// The record, as it was offered.
    pub record: EncodedRecord,
    /// Why.
    pub error: PublishError,
}

/// What a queue still had when it was closed.
#[derive(Debug)]
pub struct Left {
    /// Records that were never handed over, oldest first.
    pub records: Vec<EncodedRecord>,
    /// Records whose fate was not known yet. It becomes known, to the queue's owner as ever, while the producer lives.
    pub in_flight: u64,
}

/// A queue in front of a producer. Cloning shares it. Dropping the last clone closes it; what it holds is still
/// published, and the producer lives until the last record has had its fate.
#[derive(Clone)]
pub struct ProducerQueue(Arc<Entrance>);

struct Entrance {
    options: QueueOptions,
    record_bytes_max: usize,
    ledger: Arc<Ledger>,
    refused: Arc<AtomicU64>,
    pump: Thread,
}

impl ProducerQueue {
    /// Starts a queue in front of `producer`, which others may use as well.
    ///
    /// `undelivered` gets each record that failed. It runs on the client's own thread and must not wait; it may offer
    /// the record again, to another queue or through a handle of this one.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn start(
        producer: &Producer,
        options: QueueOptions,
        undelivered: impl Fn(Undelivered) + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let bounds = Bounds { records_max: options.records_max, bytes_max: options.bytes_max };
        let in_flight_max = u64::try_from(options.in_flight_max).unwrap_or(u64::MAX);
        let shell = Arc::new(Shell::new(Line::new(options.overflow, bounds), in_flight_max));
        let ledger =
            Arc::new(Ledger { shell: Arc::clone(&shell), undelivered: Box::new(undelivered) });
        let pump = Pump { producer: producer.clone(), ledger: Arc::clone(&ledger), topic: None };
        let thread = thread::Builder::new().name(format!("queue-{}", options.name));
        let pump = thread.spawn(move || pump.run())?.thread().clone();
        let refused = Arc::new(AtomicU64::new(0));
        metrics::show_queue(options.name, options.overflow.as_str(), {
            let refused = Arc::clone(&refused);
            move || {
                let (counts, closed) = counts(&shell, &refused);
                let finished = closed && counts.waiting + counts.in_flight == 0;
                metrics::Reading { counts, finished }
            }
        });
        let record_bytes_max = usize::try_from(producer.0.message_bytes_max).unwrap_or(usize::MAX);
        Ok(Self(Arc::new(Entrance { options, record_bytes_max, ledger, refused, pump })))
    }

    /// Offers a record and never waits.
    ///
    /// # Errors
    /// [`Refused`] with the record, when the policy says so; with [`OverflowPolicy::Block`], when there is no room now.
    pub fn offer(&self, record: EncodedRecord) -> Result<(), Refused> {
        self.sized(record)
            .and_then(|record| self.0.ledger.shell.offer(record))
            .map_err(|refused| self.refused(refused))
    }

    /// Offers a record and waits for room at most so long, and at most as long as [`OverflowPolicy::Block`] says. With
    /// any other policy this is [`Self::offer`].
    ///
    /// # Errors
    /// [`Refused`] with the record.
    pub async fn offer_within(
        &self,
        record: EncodedRecord,
        deadline: Duration,
    ) -> Result<(), Refused> {
        let OverflowPolicy::Block { deadline: longest } = self.0.options.overflow else {
            return self.offer(record);
        };
        let record = self.sized(record).map_err(|refused| self.refused(refused))?;
        let mut offering = self.0.ledger.shell.offer_when_room(record);
        match tokio::time::timeout(deadline.min(longest), &mut offering).await {
            Ok(offered) => offered.map_err(|refused| self.refused(refused)),
            Err(_) => match offering.into_record() {
                Some(record) => Err(self.refused((record, Refusal::Full))),
                None => Ok(()),
            },
        }
    }

    /// Where the records are, in one reading.
    #[must_use]
    pub fn counts(&self) -> QueueCounts {
        counts(&self.0.ledger.shell, &self.0.refused).0
    }

    /// Waits for a moment at which every accepted record has had its fate; false when `budget` ran out first, as it
    /// may while others go on offering.
    pub async fn flush(&self, budget: Duration) -> bool {
        self.0.pump.unpark();
        tokio::time::timeout(budget, self.0.ledger.shell.quiet()).await.is_ok()
    }

    /// Refuses everything from now on, waits at most `budget` for what is here, and gives back the rest.
    pub async fn close(&self, budget: Duration) -> Left {
        let shell = &self.0.ledger.shell;
        shell.close();
        self.flush(budget).await;
        let records = shell.drain();
        Left { records, in_flight: shell.snapshot().in_flight }
    }

    fn sized(&self, record: EncodedRecord) -> Result<EncodedRecord, (EncodedRecord, Refusal)> {
        match bytes_of(&record) > self.0.record_bytes_max {
            true => Err((record, Refusal::TooLarge)),
            false => Ok(record),
        }
    }

    fn refused(&self, (record, reason): (EncodedRecord, Refusal)) -> Refused {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        Refused { record, reason }
    }
}

impl fmt::Debug for ProducerQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts();
        f.debug_struct("ProducerQueue")
            .field("options", &self.0.options)
            .field("counts", &counts)
            .finish()
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.ledger.shell.close();
        self.pump.unpark();
    }
}

/// The counts, and whether the queue is closed.
fn counts(shell: &Shell<EncodedRecord>, refused: &AtomicU64) -> (QueueCounts, bool) {
    let snapshot = shell.snapshot();
    let counts = QueueCounts {
        accepted: snapshot.accounts.accepted,
        delivered: snapshot.delivered,
        undelivered: snapshot.failed,
        dropped: snapshot.accounts.dropped,
        left: snapshot.accounts.left,
        waiting: snapshot.waiting,
        in_flight: snapshot.in_flight,
        waiting_bytes: snapshot.waiting_bytes,
        refused: refused.load(Ordering::Relaxed),
    };
    (counts, snapshot.closed)
}

/// Where the fates of a queue's records arrive.
pub(super) struct Ledger {
    shell: Arc<Shell<EncodedRecord>>,
    undelivered: Box<dyn Fn(Undelivered) + Send + Sync>,
}

impl Ledger {
    pub(super) fn delivered(&self) {
        self.shell.settle(true);
    }

    /// The client gives back a record that it had.
    pub(super) fn failed(
        &self,
        topic: &Topic,
        timestamp_ms: Option<i64>,
        message: &BorrowedMessage<'_>,
        error: PublishError,
    ) {
        self.undelivered(given_back(topic.name.clone(), timestamp_ms, message), error);
    }

    /// First the owner and then the count: who has seen quiet, has seen everything that came back.
    pub(super) fn undelivered(&self, record: EncodedRecord, error: PublishError) {
        let tell = || (self.undelivered)(Undelivered { record, error });
        if catch_unwind(AssertUnwindSafe(tell)).is_err() {
            tracing::error!("the owner of a producer queue panicked over an undelivered record");
        }
        self.shell.settle(false);
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").finish_non_exhaustive()
    }
}

/// The record as it was handed over. Its own copy is gone by then; the client keeps one until the fate is known.
fn given_back(
    topic: TopicName,
    timestamp_ms: Option<i64>,
    message: &BorrowedMessage<'_>,
) -> EncodedRecord {
    let header = |header: rdkafka::message::Header<'_, &[u8]>| {
        (header.key.to_owned(), header.value.unwrap_or_default().to_vec())
    };
    EncodedRecord {
        topic,
        key: message.key().unwrap_or_default().to_vec(),
        payload: message.payload().map(<[u8]>::to_vec),
        headers: message.headers().map(|all| all.iter().map(header).collect()).unwrap_or_default(),
        timestamp_ms,
    }
}

impl Waiting for EncodedRecord {
    type Place = (TopicName, Vec<u8>);

    fn bytes(&self) -> usize {
        bytes_of(self)
    }

    fn place(&self) -> Self::Place {
        (self.topic.clone(), self.key.clone())
    }
}

#[cfg(test)]
mod interleavings;
