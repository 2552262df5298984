//! Rows on their way, and who may follow.
//!
//! Many rows of one aggregate are on their way together: the producer keeps them in order and gives back all of them
//! when one fails (see `OrderedProducer`). What it can't do is left to the lanes, one per topic:
//!
//! - A topic is **proven** once this producer had an acknowledgement from it; before that one row at a time goes
//!   there. A missing topic so costs one row of room and not a thousand, and the one case in which the producer lets
//!   a row pass its failed predecessor (a topic that comes into being between the two) can't arise.
//! - A **suspect** (an aggregate that failed before) travels alone in its lane, so that the others of its batch don't
//!   fail with it, and so that its failure says something about it.
//! - A lane has **room** for so many young rows. Old ones (a partition without leader, say) don't count, up to a limit,
//!   so that one dead partition doesn't stop the topic's others.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use millrace_envelope::TopicName;
use millrace_messaging::{Answer, OrderedProducer};
use millrace_runtime::sabotage::{self, CrashPoint, Switch};

use super::RowError;
use super::holds::{Holds, Ordering};
use super::read::{Outgoing, Row};

/// A row that is unanswered for so long is stuck, and no longer takes its topic's room.
const STUCK: Duration = Duration::from_secs(5);
/// A topic has so many times one look's rows on their way at most, stuck ones apart.
const LOOKS_YOUNG: usize = 3;
/// And so many times one look's rows, stuck ones included.
const LOOKS_ALL: usize = 12;

pub(super) struct Flight {
    producer: OrderedProducer,
    /// What one look at the table reads at most.
    look_rows_max: usize,
    /// With the producer, by sequence number, which is also the ticket.
    sent: HashMap<i64, Sent>,
    /// Acknowledged and not yet deleted: no longer to be sent, still to be left out when reading.
    acknowledged: Vec<(i16, i64)>,
    first_acknowledged: Option<Instant>,
    lanes: HashMap<TopicName, Lane>,
    by_ordering: HashMap<Ordering, usize>,
}

struct Sent {
    ordering: Ordering,
    bucket: i16,
    at: Instant,
    /// Nothing else of its topic was on its way with it.
    alone: bool,
}

#[derive(Default)]
struct Lane {
    sent: usize,
    proven: bool,
    /// Rows acknowledged, ever.
    taken: u64,
    /// Suspects' next rows, each waiting for the lane to be empty.
    waiting: VecDeque<Row>,
    /// The suspect's row that has the lane to itself.
    alone: Option<i64>,
    /// How many more rows may be sent before the next survey.
    room: usize,
}

/// A row that was not taken.
pub(super) struct Failure {
    pub(super) ordering: Ordering,
    pub(super) error: RowError,
    /// It was tried without company, so the failure is its own or its topic's.
    pub(super) alone: bool,
    /// What its topic had taken until then.
    pub(super) topic_taken: u64,
}

/// What came of one look into the mailbox.
#[derive(Default)]
pub(super) struct Landed {
    pub(super) acknowledged: Vec<Ordering>,
    pub(super) failures: Vec<Failure>,
    /// Rows given back on another's account.
    pub(super) swept: usize,
}

impl Flight {
    pub(super) fn new(producer: OrderedProducer, look_rows_max: usize) -> Self {
        Self {
            producer,
            look_rows_max,
            sent: HashMap::new(),
            acknowledged: Vec::new(),
            first_acknowledged: None,
            lanes: HashMap::new(),
            by_ordering: HashMap::new(),
        }
    }

    /// Measures the lanes' room. Returns the topics of which nothing may be read now.
    pub(super) fn survey(&mut self, now: Instant) -> Vec<TopicName> {
        let (look, sent) = (self.look_rows_max, &self.sent);
        let mut closed = Vec::new();
        for (topic, lane) in &mut self.lanes {
            lane.room = if lane.alone.is_some() || !lane.waiting.is_empty() {
                0
            } else if !lane.proven {
                usize::from(lane.sent == 0)
            } else {
                lane.room(look, || {
                    let of_topic = sent.values().filter(|sent| sent.ordering.topic == *topic);
                    of_topic.filter(|sent| now.duration_since(sent.at) < STUCK).count()
                })
            };
            if lane.room == 0 {
                closed.push(topic.clone());
            }
        }
        closed
    }

    /// Aggregates of which nothing may be read now: suspects whose row waits or travels, and those with a full look's
    /// rows on their way.
    pub(super) fn busy(&self) -> Vec<Ordering> {
        let full = self.by_ordering.iter().filter(|(_, rows)| **rows >= self.look_rows_max);
        let full = full.map(|(ordering, _)| ordering.clone());
        let waiting = self.lanes.values().flat_map(|lane| lane.waiting.iter().map(Row::ordering));
        let alone = self.lanes.values().filter_map(|lane| self.sent.get(lane.alone.as_ref()?));
        full.chain(waiting).chain(alone.map(|sent| sent.ordering.clone())).collect()
    }

    /// The rows that must not be read again.
    pub(super) fn known(&self) -> Vec<i64> {
        let waiting = self.lanes.values().flat_map(|lane| lane.waiting.iter().map(|row| row.seq));
        let acknowledged = self.acknowledged.iter().map(|(_, seq)| *seq);
        self.sent.keys().copied().chain(acknowledged).chain(waiting).collect()
    }

    /// Sends rows that are in sequence within their bucket, as far as their lanes have room. A row that isn't sent
    /// takes its aggregate's later ones with it, all to be read again.
    pub(super) fn send(&mut self, rows: Vec<Row>, holds: &Holds) -> Landed {
        let mut landed = Landed::default();
        let mut left: HashSet<Ordering> = HashSet::new();
        for row in rows {
            let ordering = row.ordering();
            if left.contains(&ordering) {
                continue;
            }
            let lane = self.lanes.entry(ordering.topic.clone());
            let lane = lane.or_insert_with(|| Lane { room: 1, ..Lane::default() });
            if holds.travels_alone(&ordering) {
                left.insert(ordering);
                lane.waiting.push_back(row);
                // The lane is drained for it.
                lane.room = 0;
                continue;
            }
            if lane.room == 0 {
                left.insert(ordering);
                continue;
            }
            lane.room -= 1;
            let alone = lane.sent == 0 && lane.room == 0;
            match self.give(row, alone) {
                Ok(()) => {}
                // Nothing more goes into the queue; whatever is left is read again.
                Err(failure) if failure.error.is_not_now() => break,
                Err(failure) => {
                    left.insert(ordering);
                    landed.failures.push(Failure { alone: true, ..*failure });
                }
            }
        }
        self.send_suspects(&mut landed);
        landed
    }

    /// Gives each empty lane to its next suspect.
    fn send_suspects(&mut self, landed: &mut Landed) {
        let mut next = Vec::new();
        for lane in self.lanes.values_mut() {
            if lane.sent == 0
                && let Some(row) = lane.waiting.pop_front()
            {
                next.push(row);
            }
        }
        for row in next {
            let (topic, seq) = (row.ordering().topic, row.seq);
            match self.give(row, true) {
                Ok(()) => {
                    if let Some(lane) = self.lanes.get_mut(&topic) {
                        lane.alone = Some(seq);
                    }
                }
                // It is read again.
                Err(failure) if failure.error.is_not_now() => {}
                Err(failure) => landed.failures.push(*failure),
            }
        }
    }

    fn give(&mut self, row: Row, alone: bool) -> Result<(), Box<Failure>> {
        sabotage::crash_point(CrashPoint::BeforePublish);
        let (ordering, bucket, seq) = (row.ordering(), row.bucket, row.seq);
        let given = match row.into_record() {
            Ok(Outgoing::Event(record)) => self.producer.send(seq, &record).map_err(RowError::from),
            Ok(Outgoing::Letter(record)) => {
                self.producer.send_letter(seq, &record).map_err(RowError::from)
            }
            Err(unreadable) => Err(RowError::Unreadable(unreadable.into())),
        };
        let lane = self.lanes.entry(ordering.topic.clone()).or_default();
        if let Err(error) = given {
            return Err(Box::new(Failure { ordering, error, alone, topic_taken: lane.taken }));
        }
        if sabotage::on(Switch::DeleteBeforeAck) {
            self.acknowledged.push((bucket, seq));
            self.first_acknowledged.get_or_insert_with(Instant::now);
            return Ok(());
        }
        lane.sent += 1;
        *self.by_ordering.entry(ordering.clone()).or_default() += 1;
        self.sent.insert(seq, Sent { ordering, bucket, at: Instant::now(), alone });
        Ok(())
    }

    /// Waits for the next answer. Dropping the future loses nothing.
    pub(super) async fn answered(&self) {
        self.producer.answered().await;
    }

    /// Takes the answers that are there, and lets the next suspects go.
    pub(super) fn land(&mut self, now: Instant) -> Landed {
        let mut landed = Landed::default();
        for (seq, answer) in self.producer.answers() {
            let Some(sent) = self.sent.remove(&seq) else { continue };
            let lane = self.lanes.entry(sent.ordering.topic.clone()).or_default();
            lane.sent = lane.sent.saturating_sub(1);
            if lane.alone == Some(seq) {
                lane.alone = None;
            }
            take_one(&mut self.by_ordering, &sent.ordering);
            match answer {
                Answer::Acknowledged(_) => {
                    sabotage::crash_point(CrashPoint::AfterPublish);
                    (lane.proven, lane.taken) = (true, lane.taken + 1);
                    self.acknowledged.push((sent.bucket, seq));
                    self.first_acknowledged.get_or_insert(now);
                    landed.acknowledged.push(sent.ordering);
                }
                Answer::Failed(error) => {
                    lane.proven = false;
                    let topic_taken = lane.taken;
                    let Sent { ordering, alone, .. } = sent;
                    let error = error.into();
                    landed.failures.push(Failure { ordering, error, alone, topic_taken });
                }
                Answer::Swept => landed.swept += 1,
            }
        }
        if landed.swept > 0 {
            // A new client, which knows of no topic yet.
            self.lanes.values_mut().for_each(|lane| lane.proven = false);
        }
        self.send_suspects(&mut landed);
        landed
    }

    /// No topic is proven.
    pub(super) fn is_cold(&self) -> bool {
        self.lanes.values().all(|lane| !lane.proven)
    }

    /// Nothing is with the producer and nobody waits for it.
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.lanes.values().all(|lane| lane.waiting.is_empty())
    }

    /// Rows without an answer.
    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }

    /// Acknowledged rows that are to be deleted, and since when the first one waits.
    pub(super) fn deletable(&self) -> Option<(usize, Instant)> {
        Some((self.acknowledged.len(), self.first_acknowledged?))
    }

    /// Takes the rows to delete. They are no longer left out when reading, so delete them before the next read.
    pub(super) fn take_acknowledged(&mut self) -> Vec<(i16, i64)> {
        self.first_acknowledged = None;
        std::mem::take(&mut self.acknowledged)
    }

    /// Buckets that must stay claimed.
    pub(super) fn buckets(&self) -> Vec<i16> {
        let waiting =
            self.lanes.values().flat_map(|lane| lane.waiting.iter().map(|row| row.bucket));
        let acknowledged = self.acknowledged.iter().map(|(bucket, _)| *bucket);
        let sent = self.sent.values().map(|sent| sent.bucket);
        let mut all: Vec<i16> = sent.chain(acknowledged).chain(waiting).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl Lane {
    /// Less than a look's room is none: most of what would be read had to be left.
    fn room(&self, look: usize, young: impl FnOnce() -> usize) -> usize {
        let max = LOOKS_YOUNG * look;
        if self.sent + look <= max {
            return max - self.sent;
        }
        if self.sent + look > LOOKS_ALL * look {
            return 0;
        }
        let young = young();
        if young + look <= max { max - young } else { 0 }
    }
}

fn take_one(counts: &mut HashMap<Ordering, usize>, key: &Ordering) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
