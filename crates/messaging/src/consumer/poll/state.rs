//! The state of one session and the turns of its loop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_resilience::Backoff;
use millrace_runtime::CancellationToken;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};

use super::drain::{Drain, Step};
use super::{POLL_WAIT, POLL_WAIT_BUSY, PollLoop};
use crate::consumer::commit::Commits;
use crate::consumer::partition::{Flow, Marks, Partition};
use crate::consumer::progress::Progress;
use crate::consumer::rebalance::{ClientEvent, unassign};
use crate::consumer::record::Record;
use crate::consumer::session::Session;
use crate::consumer::worker::Worker;
use crate::{Handler, metrics};

/// Records taken in one turn at most, so that what is due is never far off.
const TURN_RECORDS_MAX: usize = 1000;
/// How a session ended.
pub(super) enum Ended {
    /// As asked.
    Stopped,
    /// The client is of no more use.
    Broken(String),
}

pub(super) struct State<'a, H: Handler> {
    pub(super) poll: &'a PollLoop<H>,
    pub(super) session: Session,
    pub(super) partitions: BTreeMap<i32, Partition>,
    /// Owned before, and not now.
    given_back: BTreeSet<i32>,
    revocations: Vec<Drain>,
    stop: Option<Drain>,
    commits: Commits,
    pub(super) lag_asked: Option<Instant>,
    pub(super) health_told: Option<Instant>,
    /// What the broker said against our subscription, until partitions come.
    pub(super) refused: Option<String>,
}

impl<'a, H: Handler> State<'a, H> {
    pub(super) fn new(poll: &'a PollLoop<H>, session: Session) -> Self {
        Self {
            poll,
            session,
            partitions: BTreeMap::new(),
            given_back: BTreeSet::new(),
            revocations: Vec::new(),
            stop: None,
            commits: Commits::new(poll.settings.commit_interval),
            lag_asked: None,
            health_told: None,
            refused: None,
        }
    }

    /// One turn; `Some` when the session is over.
    pub(super) fn turn(&mut self) -> Option<Ended> {
        if let Err(reason) = self.take_records() {
            return Some(Ended::Broken(reason));
        }
        self.poll.board.polled();
        self.control_flow();
        if self.poll.stopping() && self.stop.is_none() {
            let all = self.partitions.keys().copied().collect();
            let bound = self.poll.settings.revoke_timeout;
            self.stop = Some(Drain::start(&mut self.partitions, all, false, bound));
        }
        let now = Instant::now();
        let hurry = self.drain(now);
        self.commit(now, hurry);
        self.ask_for_lag(now);
        if let Some(reason) = self.worker_lost() {
            return Some(Ended::Broken(reason));
        }
        self.tell_health(now);
        let stop = self.stop.as_mut()?;
        (stop.step(&self.partitions, now) == Step::Done).then_some(Ended::Stopped)
    }

    /// Lets go of everything; what is not committed by now is the next owner's.
    pub(super) fn close(mut self) -> bool {
        for partition in self.partitions.values() {
            partition.finish.cancel();
            partition.abandon.cancel();
        }
        for drain in std::mem::take(&mut self.revocations) {
            self.give_back(&drain.partitions);
        }
        let all: Vec<i32> = self.partitions.keys().copied().collect();
        self.forget(&all);
        self.session.close(self.poll.settings.close_timeout)
    }

    /// Polls what there is, up to a bound, and hands it over.
    fn take_records(&mut self) -> Result<(), String> {
        let waits = self.stop.is_some()
            || !self.revocations.is_empty()
            || self.partitions.values().any(Partition::paused);
        let mut wait = if waits { POLL_WAIT_BUSY } else { POLL_WAIT };
        let consumer = Arc::clone(&self.session.consumer);
        for _ in 0..TURN_RECORDS_MAX {
            let polled = consumer.poll(wait);
            let over = polled.is_none();
            match polled {
                Some(Ok(message)) => self.received(&message)?,
                Some(Err(error)) => self.reported(error)?,
                None => {}
            }
            // Partitions come and go between records, never behind their backs.
            for event in consumer.context().take_events() {
                self.client_event(event);
            }
            if over {
                break;
            }
            wait = Duration::ZERO;
        }
        self.partitions.values_mut().for_each(Partition::hand_over);
        Ok(())
    }

    fn received(&mut self, message: &BorrowedMessage<'_>) -> Result<(), String> {
        let number = message.partition();
        let Some(partition) = self.partitions.get_mut(&number) else {
            if self.given_back.contains(&number) {
                return Ok(()); // A straggler; it is the next owner's.
            }
            // To go on would mean to commit past a record that nobody has seen.
            return Err(format!("a record came from partition {number}, which was never assigned"));
        };
        self.session.consumer.context().connection().answered();
        partition.gather(Record::of(message));
        Ok(())
    }

    fn reported(&mut self, error: KafkaError) -> Result<(), String> {
        if let KafkaError::PartitionEOF(number) = error {
            if let Some(partition) = self.partitions.get_mut(&number) {
                partition.reached_end();
            }
            return Ok(());
        }
        if let KafkaError::MessageConsumptionFatal(code) = error {
            return Err(format!("the client ended fatally: {code}"));
        }
        let topic = &self.poll.identity.broker_topic;
        let refused = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                format!("topic `{topic}` does not exist; it is waited for")
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                format!("topic `{topic}` may not be read")
            }
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                format!("group `{}` may not be joined", self.poll.identity.broker_group)
            }
            // All else passes or is told by the connection; the client goes on by itself.
            _ => return Ok(()),
        };
        if self.refused.as_ref() != Some(&refused) {
            tracing::warn!(group = self.poll.identity.group, reason = refused, "consumer waits");
            self.refused = Some(refused);
            self.health_told = None;
        }
        Ok(())
    }

    fn client_event(&mut self, event: ClientEvent) {
        let (group, topic) = (self.poll.identity.group, self.poll.identity.topic.as_str());
        match event {
            ClientEvent::Assigned(partitions) => {
                tracing::info!(group, topic, ?partitions, "partitions assigned");
                metrics::rebalanced(group, topic, "assigned");
                self.refused = None;
                for number in partitions {
                    let partition = self.start_worker(number);
                    self.partitions.insert(number, partition);
                    self.given_back.remove(&number);
                }
                (self.lag_asked, self.health_told) = (None, None);
            }
            ClientEvent::Revoked { partitions, lost } => {
                tracing::info!(group, topic, ?partitions, lost, "partitions revoked");
                metrics::rebalanced(group, topic, if lost { "lost" } else { "revoked" });
                let bound = self.poll.settings.revoke_timeout;
                self.revocations.push(Drain::start(&mut self.partitions, partitions, lost, bound));
            }
        }
    }

    fn start_worker(&self, number: i32) -> Partition {
        let settings = &self.poll.settings;
        let progress = Arc::new(Progress::new());
        // A stop reaches the workers at once, not with the loop's next turn.
        let (finish, abandon) = (self.poll.stop.child_token(), CancellationToken::new());
        let (sender, inbox) = tokio::sync::mpsc::unbounded_channel();
        let worker = Worker {
            identity: Arc::clone(&self.poll.identity),
            handler: Arc::clone(&self.poll.handler),
            producer: self.poll.producer.clone(),
            progress: Arc::clone(&progress),
            board: Arc::clone(&self.poll.board),
            backoff: Backoff {
                initial: settings.retry_wait_min,
                max: settings.retry_wait_max,
                ..Backoff::STANDARD
            },
            batch_records_max: settings.batch_records_max,
            batch_bytes_max: bytes(settings.batch_bytes_max.as_u64()),
            message_bytes_max: settings.message_bytes_max.as_u64(),
            finish: finish.clone(),
            abandon: abandon.clone(),
        };
        let name = format!("{} {}/{number}", self.poll.identity.group, self.poll.identity.topic);
        drop(self.poll.tasks.spawn(name, worker.run(inbox)));
        Partition::new(progress, sender, finish, abandon)
    }

    /// Pauses and resumes partitions by what their workers hold.
    fn control_flow(&mut self) {
        let settings = &self.poll.settings;
        let marks = Marks {
            records_max: settings.partition_records_max,
            bytes_max: bytes(settings.partition_bytes_max.as_u64()),
        };
        let topic = &self.poll.identity.broker_topic;
        let (mut pause, mut resume) = (TopicPartitionList::new(), TopicPartitionList::new());
        for (number, partition) in &mut self.partitions {
            let list = match partition.flow(marks) {
                Flow::Pause => &mut pause,
                Flow::Resume => &mut resume,
                Flow::Keep => continue,
            };
            list.add_partition(topic, *number);
        }
        let consumer = &self.session.consumer;
        let paused = if pause.count() > 0 { consumer.pause(&pause) } else { Ok(()) };
        let resumed = if resume.count() > 0 { consumer.resume(&resume) } else { Ok(()) };
        if let Err(error) = paused.and(resumed) {
            tracing::error!(group = self.poll.identity.group, %error, "flow of partitions was not changed");
        }
    }

    /// Moves what is on its way out; true when a commit is waited for.
    fn drain(&mut self, now: Instant) -> bool {
        let mut hurry = false;
        let mut pending = Vec::new();
        for mut drain in std::mem::take(&mut self.revocations) {
            match drain.step(&self.partitions, now) {
                Step::Done => {
                    if drain.cut_off() {
                        tracing::warn!(group = self.poll.identity.group, topic = self.poll.identity.topic,
                            partitions = ?drain.partitions, "work on revoked partitions was cut off");
                    }
                    self.give_back(&drain.partitions);
                    self.forget(&drain.partitions);
                    continue;
                }
                Step::Committing => hurry = true,
                Step::Finishing => {}
            }
            pending.push(drain);
        }
        self.revocations = pending;
        let stop = self.stop.as_mut().map(|stop| stop.step(&self.partitions, now));
        hurry || stop == Some(Step::Committing)
    }

    fn give_back(&self, partitions: &[i32]) {
        let mut list = TopicPartitionList::new();
        for number in partitions {
            list.add_partition(&self.poll.identity.broker_topic, *number);
        }
        if let Err(error) = unassign(&self.session.consumer, &list) {
            tracing::error!(group = self.poll.identity.group, %error, "partitions were not given back");
        }
    }

    fn forget(&mut self, partitions: &[i32]) {
        for number in partitions {
            if let Some(partition) = self.partitions.remove(number) {
                partition.abandon.cancel();
                self.given_back.insert(*number);
            }
            metrics::forget_lag(self.poll.identity.group, &self.poll.identity.topic, *number);
        }
        self.health_told = None;
    }

    /// Commits what was finished: each interval, and at once when a drain waits for it.
    fn commit(&mut self, now: Instant, hurry: bool) {
        if let Some(answer) = self.session.commits.answer() {
            self.commits.answered(answer, &mut self.partitions, &self.poll.identity);
        }
        if self.session.commits.open() {
            return;
        }
        if let Some(offsets) = self.commits.due(&self.partitions, now, hurry) {
            self.session.commits.ask(offsets);
        }
    }
}

fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
