//! Letters and the offsets of the records they came from, in one Kafka transaction: both take effect, or neither.
//!
//! A consumer without a database has nothing else that could decide: letter first and offset later doubles the letter
//! when the process dies between them, and a member that was paused past its session would publish letters for
//! records that its successor handles. In a transaction the group's coordinator decides: it refuses the offsets of a
//! member that is no longer in the group, and without the offsets there are no letters.
//!
//! What was measured, with librdkafka 2.12.1 and a 4.x broker, under both rebalance protocols alike:
//! - The metadata string of an offset arrives, up to the broker's bound of 4,096 bytes; above that the transaction is
//!   refused. A plain commit and a transaction of the same member can follow each other: the later in the
//!   coordinator's log stands, even if the earlier transaction ends after it.
//! - A transaction costs a millisecond or two more than a plain commit. The first one of a process costs some 20 ms.
//!   The offsets can't be read for up to 100 ms after it, until the coordinator has written its markers.
//! - A member that was thrown out gets `UnknownMemberId` or `IllegalGeneration` for its offsets; an abort is enough
//!   and the producer can go on. What must not happen is asking who one is *then*: see [`Membership`].
//!
//! A process that dies inside a transaction holds up readers of its letters, and the offsets of its partitions, until
//! the coordinator gives the transaction up: [`TRANSACTION_TIMEOUT_MAX`] and at most ten seconds more, the interval at
//! which it looks. A new owner that asks for the offsets meanwhile is told to wait, and must.
//!
//! All of this blocks, for at most the bound that is given, and runs beside the plain commits. Of the two parts of a
//! transaction the first, [`LetterWriter::send`], may take long and touches no offset. In the second,
//! [`LetterWriter::commit`], no plain commit of the same partitions may be open or asked for: it would stand later in
//! the coordinator's log, without the letters' records, and undo what the transaction commits.

mod client;
mod doubt;
mod membership;

use std::time::{Duration, Instant};

use millrace_runtime::sabotage::{self, CrashPoint, Switch};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use crate::client::ClientError;
use crate::naming::Naming;
use crate::settings::DEAD_LETTER_ROOM_BYTES;
use crate::{KafkaSettings, RawOutgoing};
use client::{Batching, Client, Commit, Unfilled};
use doubt::Doubt;

pub(super) use doubt::Resolved;
pub(super) use membership::Membership;

/// The longest that the coordinator keeps a transaction of a process that died.
pub(super) const TRANSACTION_TIMEOUT_MAX: Duration = Duration::from_secs(10);
/// The shortest that the client library takes.
const TRANSACTION_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// How long an abort is asked for before the client is given up instead.
const ABORT_BOUND: Duration = Duration::from_secs(2);

/// One letter, addressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OutgoingLetter {
    /// The topic's name on the broker.
    pub(super) topic: String,
    /// The partition, taken modulo the topic's count; `None` leaves it to the key.
    pub(super) partition: Option<i32>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) payload: Option<Vec<u8>>,
    pub(super) headers: Vec<(String, Option<Vec<u8>>)>,
    pub(super) timestamp_ms: Option<i64>,
}

impl OutgoingLetter {
    pub(super) fn of(record: RawOutgoing, naming: &Naming, partition: Option<i32>) -> Self {
        let RawOutgoing { topic, key, payload, headers, timestamp_ms } = record;
        Self { topic: naming.topic(&topic), partition, key, payload, headers, timestamp_ms }
    }

    fn bytes(&self) -> u64 {
        let length = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        let headers = self.headers.iter().map(|(name, value)| name.len() + length(value));
        let bytes = length(&self.key) + length(&self.payload) + headers.sum::<usize>();
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// The step that went wrong, and what the client said.
#[derive(Debug, thiserror::Error)]
#[error("{step}")]
pub(super) struct StepError {
    pub(super) step: &'static str,
    #[source]
    pub(super) cause: ClientError,
}

impl StepError {
    fn new(step: &'static str, cause: KafkaError) -> Self {
        Self { step, cause: ClientError(cause) }
    }

    fn timed_out(step: &'static str) -> Self {
        Self::new(step, KafkaError::Global(RDKafkaErrorCode::OperationTimedOut))
    }
}

/// Why letters and offsets are not known to have taken effect.
#[derive(Debug, thiserror::Error)]
pub(super) enum LetterError {
    /// Nothing took effect. The letters stay with the caller, who tries again later.
    #[error("letters were not published")]
    Retry(#[source] StepError),
    /// Nothing took effect, and with this membership nothing will. What is still owned after the next rebalance is
    /// tried again with a new one; the rest is somebody else's.
    #[error("letters were refused because the membership is over")]
    Fenced(#[source] StepError),
    /// Nothing took effect, because these letters are too large, each on its own.
    #[error("letters are too large for their topic")]
    Oversized {
        /// Their places among the letters, in order.
        indices: Vec<usize>,
    },
    /// The commit was asked for and not answered. Settling now could lose the records, repeating could double the
    /// letters: [`LetterWriter::resolve`] finds out, and nothing else may be committed before it has.
    #[error("it is not known whether letters were published")]
    InDoubt(#[source] StepError),
}

impl LetterError {
    /// What an error means that came before the commit was asked for.
    fn before_commit(error: StepError) -> Self {
        use RDKafkaErrorCode as Code;
        match error.cause.0.rdkafka_error_code() {
            Some(
                Code::UnknownMemberId
                | Code::IllegalGeneration
                | Code::FencedInstanceId
                | Code::FencedMemberEpoch
                | Code::StaleMemberEpoch,
            ) => Self::Fenced(error),
            _ => Self::Retry(error),
        }
    }
}

/// Publishes letters together with offsets. Nothing is opened before the first letter: most consumers never write one.
#[derive(Debug)]
pub(super) struct LetterWriter {
    settings: KafkaSettings,
    /// Unique, so that nobody fences us and we fence nobody; kept when the client is replaced, because then the
    /// coordinator ends what the client before has left open.
    transactional_id: String,
    client: Option<Client>,
    /// For good, once a batch was refused for its size: a topic that is too narrow for one would refuse the next, too,
    /// and each refusal costs a client.
    batching: Batching,
    /// Letters are sent and not yet committed; the transaction must end before this.
    open: Option<Instant>,
    doubt: Option<Doubt>,
}

impl LetterWriter {
    pub(super) fn new(settings: &KafkaSettings, broker_group: &str) -> Self {
        let transactional_id = format!("{broker_group}-{}", Uuid::now_v7());
        Self {
            settings: settings.clone(),
            transactional_id,
            client: None,
            batching: Batching::default(),
            open: None,
            doubt: None,
        }
    }

    /// True while [`LetterWriter::resolve`] has an answer to find.
    #[cfg(test)]
    fn in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Opens a transaction and brings the letters into it. Nobody sees them before [`LetterWriter::commit`]. When it
    /// fails nothing is left open.
    ///
    /// # Errors
    /// See [`LetterError`].
    pub(super) fn send(
        &mut self,
        letters: &[OutgoingLetter],
        bound: Duration,
    ) -> Result<(), LetterError> {
        let until = Instant::now() + bound.min(self.transaction_timeout());
        if self.doubt.is_some() {
            let step = "the last transaction is in doubt";
            return Err(LetterError::InDoubt(StepError::timed_out(step)));
        }
        self.abort();
        let bytes_max = self.settings.message_bytes_max.as_u64() + DEAD_LETTER_ROOM_BYTES;
        let beyond = letters.iter().enumerate().filter(|(_, letter)| letter.bytes() > bytes_max);
        let indices: Vec<usize> = beyond.map(|(index, _)| index).collect();
        if !indices.is_empty() {
            return Err(LetterError::Oversized { indices });
        }
        loop {
            self.open_client(until).map_err(LetterError::Retry)?;
            let Some(mut client) = self.client.take() else {
                return Err(LetterError::Retry(StepError::timed_out(
                    "the producer was not opened",
                )));
            };
            sabotage::crash_point(CrashPoint::BeforePublish);
            match client.fill(letters, until) {
                Ok(()) => {
                    (self.client, self.open) = (Some(client), Some(until));
                    return Ok(());
                }
                Err(Unfilled::Failed(error)) => {
                    self.give_up(client, until);
                    return Err(error);
                }
                // Once at most: who sends letters singly crowds none.
                Err(Unfilled::Crowded) => {
                    self.give_up(client, until);
                    tracing::info!(
                        transactional_id = self.transactional_id,
                        letters = letters.len(),
                        "a batch of letters is too large for its topic; letters are sent singly"
                    );
                    self.batching = Batching::Singly;
                }
            }
        }
    }

    /// Commits the letters that were sent together with the offsets and their metadata. The offsets count the letters'
    /// records as finished, so they differ from what was committed before. The patience is for the coordinator's taking
    /// the offsets; when that fails nothing will ever take effect, and [`LetterWriter::abort`] should follow.
    ///
    /// # Errors
    /// See [`LetterError`].
    pub(super) fn commit<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        membership: &Membership,
        offsets: &TopicPartitionList,
        patience: Duration,
    ) -> Result<(), LetterError> {
        // The client takes a list without a single offset for nothing to do, and then nobody would ask whose letters
        // these are.
        let positions = offsets.elements();
        let valid = |at: Offset| matches!(at, Offset::Offset(0..));
        if positions.is_empty() || !positions.iter().all(|position| valid(position.offset())) {
            let cause = KafkaError::SetPartitionOffset(RDKafkaErrorCode::InvalidArgument);
            let step = "letters came without the offsets of their records";
            return Err(LetterError::Retry(StepError::new(step, cause)));
        }
        let (Some(until), Some(client)) = (self.open, self.client.take()) else {
            let step = "letters were not sent before their commit";
            return Err(LetterError::Retry(StepError::timed_out(step)));
        };
        let apart = sabotage::on(Switch::NoTransaction);
        let patience = until.min(Instant::now() + patience);
        if !apart && let Err(error) = client.join(offsets, membership, patience) {
            self.client = Some(client);
            return Err(error);
        }
        self.open = None;
        let published = self.finish(client, (!apart).then_some(offsets), until);
        if apart && published.is_ok() {
            sabotage::crash_point(CrashPoint::AfterPublish);
            return consumer.commit(offsets, CommitMode::Sync).map_err(|error| {
                LetterError::before_commit(StepError::new("offsets were not committed", error))
            });
        }
        published
    }

    /// Gives up what was sent and not committed.
    pub(super) fn abort(&mut self) {
        if self.open.take().is_some()
            && let Some(client) = self.client.take()
        {
            self.give_up(client, Instant::now() + ABORT_BOUND);
        }
    }

    /// Finds out what became of the transaction that was left in doubt; without one there is nothing to be repeated.
    ///
    /// # Errors
    /// [`LetterError::InDoubt`] when it is still not known.
    pub(super) fn resolve<C: ConsumerContext>(
        &mut self,
        consumer: &BaseConsumer<C>,
        bound: Duration,
    ) -> Result<Resolved, LetterError> {
        let until = Instant::now() + bound;
        let Some(doubt) = self.doubt.take() else { return Ok(Resolved::Committed) };
        // While the client lives, it goes on asking for the same commit and is answered in the end. One that isn't ready
        // is its successor and has nothing to ask for yet.
        if let Some(client) = self.client.take_if(|client| client.ready()) {
            match client.commit(until) {
                Commit::Done => {
                    self.client = Some(client);
                    return Ok(Resolved::Committed);
                }
                Commit::Refused(_) if client.abort(until) => {
                    self.client = Some(client);
                    return Ok(Resolved::Aborted);
                }
                Commit::Open(error) => {
                    (self.client, self.doubt) = (Some(client), Some(doubt));
                    return Err(LetterError::InDoubt(error));
                }
                // The client is of no use any more.
                Commit::Refused(_) | Commit::Broken(_) => client.release(),
            }
        }
        let answer = self.open_client(until).and_then(|()| doubt.settled(consumer, until));
        answer.map_err(|error| {
            self.doubt = Some(doubt);
            LetterError::InDoubt(error)
        })
    }

    /// Commits what was sent, and joined by these offsets.
    fn finish(
        &mut self,
        client: Client,
        joined: Option<&TopicPartitionList>,
        until: Instant,
    ) -> Result<(), LetterError> {
        if joined.is_some() {
            sabotage::crash_point(CrashPoint::AfterPublish);
            sabotage::crash_point(CrashPoint::BeforeOffsetCommit);
        }
        let error = match client.commit(until) {
            Commit::Done => {
                self.client = Some(client);
                if joined.is_some() {
                    sabotage::crash_point(CrashPoint::AfterOffsetCommit);
                }
                return Ok(());
            }
            // An abort that the coordinator takes proves that the commit had not taken effect.
            Commit::Refused(error) if client.abort(until) => {
                self.client = Some(client);
                return Err(LetterError::before_commit(error));
            }
            Commit::Open(error) => {
                self.client = Some(client);
                error
            }
            Commit::Refused(error) | Commit::Broken(error) => {
                client.release();
                error
            }
        };
        // Without offsets there is nothing by which it could be found out; only a sabotaged writer comes here so.
        self.doubt = joined.map(Doubt::of);
        Err(LetterError::InDoubt(error))
    }

    /// Aborts; a client that can't do so in time is replaced, and its successor makes the coordinator abort.
    fn give_up(&mut self, client: Client, until: Instant) {
        if client.abort(until) && !client.worn() {
            self.client = Some(client);
        } else {
            client.release();
        }
    }

    fn open_client(&mut self, until: Instant) -> Result<(), StepError> {
        if self.client.is_none() {
            let timeout = self.transaction_timeout();
            let client =
                Client::new(&self.settings, &self.transactional_id, timeout, self.batching)?;
            self.client = Some(client);
        }
        let ready = self.client.as_mut().map_or(Ok(()), |client| client.make_ready(until));
        if let Err((error, broken)) = ready {
            if let Some(client) = self.client.take_if(|_| broken) {
                client.release();
            }
            return Err(error);
        }
        Ok(())
    }

    fn transaction_timeout(&self) -> Duration {
        self.settings.publish_timeout.clamp(TRANSACTION_TIMEOUT_MIN, TRANSACTION_TIMEOUT_MAX)
    }
}

/// A consumer that closes leaves no transaction open: readers of the letters would wait for its time-out.
impl Drop for LetterWriter {
    fn drop(&mut self) {
        self.abort();
    }
}

#[cfg(test)]
mod tests;
