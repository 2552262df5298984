//! The transactional client: one transaction at a time, each step bounded.
//!
//! It has a thread that serves its events all the time, because an abort and a token refresh wait for them, and
//! neither comes when somebody happens to poll.

mod refusal;
mod reports;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};

use super::{LetterError, Membership, OutgoingLetter, StepError};
use crate::KafkaSettings;
use crate::client::{Connection, base_config};
use crate::settings::DEAD_LETTER_ROOM_BYTES;
use refusal::{Refusal, is_too_large, refusal};
use reports::{LetterContext, Reports, Ticket};

pub(super) use refusal::Batching;

/// A topic's own limit is the broker's for a whole batch: several letters that fit one by one must not be refused
/// because they travel together. A single larger letter still travels, alone.
const BATCH_BYTES: u32 = 256 * 1024;
/// How long a full queue, or an event that is being served, is left alone before the next look.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

pub(super) struct Client {
    producer: ThreadedProducer<LetterContext>,
    reports: Arc<Reports>,
    batching: Batching,
    /// True once the coordinator knows us and has ended what a client before left open.
    ready: bool,
    /// True once the broker has refused a letter. Its sequence number is used up on our side and not on the broker's, so
    /// the next letter for the partition would fail for the gap: the client is given up after the abort.
    worn: bool,
    /// Partition counts of the letters' topics. Forgotten when anything goes wrong, a topic made anew being one cause.
    partition_counts: HashMap<String, i32>,
}

/// Why letters are not in a transaction.
#[derive(Debug)]
pub(super) enum Unfilled {
    /// A batch of several was too large. Nobody knows which of them is to blame, if any: a client that sends each on its
    /// own finds out.
    Crowded,
    Failed(LetterError),
}

impl From<LetterError> for Unfilled {
    fn from(error: LetterError) -> Self {
        Self::Failed(error)
    }
}

/// What became of a commit.
pub(super) enum Commit {
    Done,
    /// Not yet answered, and still asked for.
    Open(StepError),
    /// The client says no; an abort tells whether the coordinator agrees.
    Refused(StepError),
    /// The client has ended, and what the coordinator did is not known.
    Broken(StepError),
}

/// The time that is left, if any.
pub(super) fn left(until: Instant) -> Option<Duration> {
    // The client counts milliseconds and takes zero for «don't wait».
    Some(until.saturating_duration_since(Instant::now())).filter(|left| left.as_millis() > 0)
}

impl Client {
    pub(super) fn new(
        settings: &KafkaSettings,
        transactional_id: &str,
        timeout: Duration,
        batching: Batching,
    ) -> Result<Self, StepError> {
        let reports = Arc::new(Reports::default());
        let connection = Connection::new(format!("letters {transactional_id}"), settings);
        let context = LetterContext::new(connection, Arc::clone(&reports));
        let producer = config(settings, transactional_id, timeout, batching)
            .create_with_context(context)
            .map_err(|error| StepError::new("the producer was not created", error))?;
        let partition_counts = HashMap::new();
        Ok(Self { producer, reports, batching, ready: false, worn: false, partition_counts })
    }

    /// Introduces the client to the coordinator, which ends what an earlier client of the same id left open. The flag
    /// of the error says that another client is needed.
    pub(super) fn make_ready(&mut self, until: Instant) -> Result<(), (StepError, bool)> {
        const STEP: &str = "the coordinator did not take the producer";
        if self.ready {
            return Ok(());
        }
        let wait = left(until).ok_or_else(|| (StepError::timed_out(STEP), false))?;
        self.producer.init_transactions(wait).map_err(|error| {
            let broken = !retriable(&error);
            (StepError::new(STEP, error), broken)
        })?;
        self.ready = true;
        Ok(())
    }

    /// Opens a transaction and puts the letters into it, up to the acknowledgement of the last one.
    pub(super) fn fill(
        &mut self,
        letters: &[OutgoingLetter],
        until: Instant,
    ) -> Result<(), Unfilled> {
        let filled = self.try_fill(letters, until);
        if filled.is_err() {
            self.partition_counts.clear();
        }
        filled
    }

    fn try_fill(&mut self, letters: &[OutgoingLetter], until: Instant) -> Result<(), Unfilled> {
        let transaction = self.reports.begin();
        let begun = self.producer.begin_transaction();
        begun.map_err(|error| LetterError::Retry(StepError::new("no transaction begun", error)))?;
        for (index, letter) in letters.iter().enumerate() {
            self.enqueue(Ticket { transaction, index }, letter, until)?;
        }
        let outcome = self.reports.wait(letters.len(), until).ok_or_else(|| {
            LetterError::Retry(StepError::timed_out("letters were not acknowledged in time"))
        })?;
        self.worn = !outcome.failed.is_empty();
        match refusal(letters, &outcome, self.batching) {
            Some(Refusal::Batch) => return Err(Unfilled::Crowded),
            Some(Refusal::Letters(indices)) => {
                return Err(LetterError::Oversized { indices }.into());
            }
            None => {}
        }
        match outcome.failed.into_iter().next() {
            None => Ok(()),
            Some((_, error)) => {
                let step = "a letter was not acknowledged";
                Err(LetterError::Retry(StepError::new(step, error)).into())
            }
        }
    }

    /// Puts the offsets into the transaction that the letters are in.
    pub(super) fn join(
        &self,
        offsets: &TopicPartitionList,
        membership: &Membership,
        until: Instant,
    ) -> Result<(), LetterError> {
        const STEP: &str = "offsets were not taken into the transaction";
        let wait = left(until).ok_or_else(|| LetterError::Retry(StepError::timed_out(STEP)))?;
        let taken = self.producer.send_offsets_to_transaction(offsets, membership.group(), wait);
        taken.map_err(|error| LetterError::before_commit(StepError::new(STEP, error)))
    }

    fn enqueue(
        &mut self,
        ticket: Ticket,
        letter: &OutgoingLetter,
        until: Instant,
    ) -> Result<(), LetterError> {
        const STEP: &str = "a letter found no room in the client's queue";
        // Asked for also where the key decides: for a topic that isn't there the client would hold the letter until the
        // bound, and the letters for other topics with it.
        let count = self.partition_count(&letter.topic, until).map_err(LetterError::Retry)?;
        let partition = letter.partition.map(|partition| partition.rem_euclid(count));
        let mut headers = OwnedHeaders::new_with_capacity(letter.headers.len());
        for (key, value) in &letter.headers {
            headers = headers.insert(Header { key, value: value.as_deref() });
        }
        let mut record: BaseRecord<'_, [u8], [u8], Box<Ticket>> =
            BaseRecord::with_opaque_to(&letter.topic, Box::new(ticket)).headers(headers);
        record.key = letter.key.as_deref();
        record.payload = letter.payload.as_deref();
        record.partition = partition;
        record.timestamp = letter.timestamp_ms;
        loop {
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, _)) if is_too_large(&error) => {
                    return Err(LetterError::Oversized { indices: vec![ticket.index] });
                }
                Err((error, back)) => {
                    let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                    if !full || left(until).is_none() {
                        return Err(LetterError::Retry(StepError::new(STEP, error)));
                    }
                    std::thread::park_timeout(LOOK_INTERVAL);
                    record = back;
                }
            }
        }
    }

    fn partition_count(&mut self, topic: &str, until: Instant) -> Result<i32, StepError> {
        const STEP: &str = "the letters' topic was not found";
        if let Some(count) = self.partition_counts.get(topic) {
            return Ok(*count);
        }
        let wait = left(until).ok_or_else(|| StepError::timed_out(STEP))?;
        let fetched = self.producer.client().fetch_metadata(Some(topic), wait);
        let metadata = fetched.map_err(|error| StepError::new(STEP, error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let count = found.map_or(0, |found| found.partitions().len());
        if count == 0 {
            let unknown = RDKafkaErrorCode::UnknownTopicOrPartition;
            return Err(StepError::new(STEP, KafkaError::MetadataFetch(unknown)));
        }
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        self.partition_counts.insert(topic.to_owned(), count);
        Ok(count)
    }

    /// Asks for the commit, or goes on asking for the one that is open.
    pub(super) fn commit(&self, until: Instant) -> Commit {
        const STEP: &str = "the commit was not answered";
        // The last event is let go of a moment after it was reported, and the commit would wait 100 ms for that.
        while self.producer.in_flight_count() > 0 && left(until).is_some() {
            std::thread::park_timeout(LOOK_INTERVAL / 10);
        }
        let mut answer = Commit::Open(StepError::timed_out(STEP));
        while let Some(wait) = left(until) {
            let Err(error) = self.producer.commit_transaction(wait) else { return Commit::Done };
            answer = if retriable(&error) || matches!(error, KafkaError::Flush(_)) {
                std::thread::park_timeout(LOOK_INTERVAL);
                Commit::Open(StepError::new(STEP, error))
            } else if abortable(&error) {
                return Commit::Refused(StepError::new("the commit was refused", error));
            } else {
                return Commit::Broken(StepError::new("the producer ended in the commit", error));
            };
        }
        answer
    }

    /// True when the coordinator has taken the abort: then nothing of the transaction takes effect, ever.
    pub(super) fn abort(&self, until: Instant) -> bool {
        while let Some(wait) = left(until) {
            match self.producer.abort_transaction(wait) {
                Ok(()) => return true,
                Err(error) if retriable(&error) => std::thread::park_timeout(LOOK_INTERVAL),
                Err(error) => {
                    tracing::debug!(%error, "transaction of letters was not aborted by its client");
                    return false;
                }
            }
        }
        false
    }

    /// True once the coordinator knows it.
    pub(super) fn ready(&self) -> bool {
        self.ready
    }

    /// True when it can't take another transaction.
    pub(super) fn worn(&self) -> bool {
        self.worn
    }

    /// Lets go of the client on a thread of its own, for it takes its time. Should there be no thread, it is let go here.
    pub(super) fn release(self) {
        let release = std::thread::Builder::new().name("kafka-letters-end".to_owned());
        if let Err(error) = release.spawn(move || drop(self)) {
            tracing::warn!(%error, "no thread to let go of a producer");
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("ready", &self.ready).finish_non_exhaustive()
    }
}

fn retriable(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.is_retriable() && !error.is_fatal())
}

fn abortable(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.txn_requires_abort() && !error.is_fatal())
}

fn config(
    settings: &KafkaSettings,
    transactional_id: &str,
    timeout: Duration,
    batching: Batching,
) -> ClientConfig {
    let mut config = base_config(settings);
    let message_bytes = settings.message_bytes_max.as_u64() + DEAD_LETTER_ROOM_BYTES;
    config
        .set("transactional.id", transactional_id)
        .set("transaction.timeout.ms", timeout.as_millis().to_string())
        // The client refuses a request that may outlive its transaction.
        .set("socket.timeout.ms", settings.request_timeout.min(timeout).as_millis().to_string())
        // Java's hash, as everywhere: dead letters of one key stay together.
        .set("partitioner", "murmur2_random")
        .set("message.max.bytes", message_bytes.to_string())
        .set("batch.size", BATCH_BYTES.to_string())
        .set("linger.ms", "0")
        .set("queue.buffering.max.messages", settings.queue_records_max.to_string())
        .set("queue.buffering.max.kbytes", (settings.queue_bytes_max.as_u64() / 1024).to_string());
    if batching == Batching::Singly {
        config.set("batch.num.messages", "1");
    }
    config
}
