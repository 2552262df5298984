//! From the client into the schedule.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use millrace_runtime::sabotage::{self, Switch};
use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};

use super::state::{Ended, State};
use super::{POLL_WAIT, POLL_WAIT_BUSY};
use crate::consumer::ConsumerEvent;
use crate::consumer::lanes::{Item, LaneId};
use crate::consumer::letters;
use crate::consumer::mode::Order;
use crate::consumer::schedule::{Flow, Marks, PartitionView};
use crate::consumer::slot::Slot;
use crate::message::RawRecord;
use crate::{Handler, ffi};
use millrace_runtime::Clock;

/// Records taken in one turn at most, so that what is due is never far off.
const TURN_RECORDS_MAX: usize = 1000;

/// How full a partition is at its high mark, in thousandths.
const FULL: usize = 1000;
/// How long a partition's records may take to get fewer by a [`BREATHS`]th, or its flow is stopped.
const BREATH: Duration = Duration::from_millis(10);
const BREATHS: usize = 10;
/// Between two looks at what is held.
const LOOK: Duration = Duration::from_millis(1);

/// One state for all consumers: lanes of equal keys need to be equal within one partition only, and a fresh key for each
/// process keeps anybody from choosing keys that collide.
static HASH: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl<H: Handler> State<'_, H> {
    /// Polls what there is, up to a bound, and hands it over.
    pub(super) fn take_records(&mut self) -> Result<(), Ended> {
        let mut wait = if self.waits_for_others() { POLL_WAIT_BUSY } else { POLL_WAIT };
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
        self.still_the_same_topics()?;
        self.hand_over();
        Ok(())
    }

    /// True while something is waited for that doesn't come with a record.
    fn waits_for_others(&self) -> bool {
        self.stop.is_some()
            || !self.revocations.is_empty()
            || self.joining.any()
            || self.draws.any()
            || self.posting.any()
            || self.dispatch.with(|schedule| schedule.any_stopped())
    }

    fn received(&mut self, message: &BorrowedMessage<'_>) -> Result<(), Ended> {
        let identity = Arc::clone(&self.poll.identity);
        let (topic, number, offset) = (message.topic(), message.partition(), message.offset());
        let Some(slot) = identity.slot(topic, number) else {
            return Err(Ended::Broken(format!("a record came from `{topic}`, which is not read")));
        };
        let Some(owned) = self.owned.get(&slot) else {
            if self.given_back.contains(&slot) {
                return Ok(()); // A straggler; it is the next owner's.
            }
            // To go on would mean to commit past a record that nobody has seen.
            let reason = format!("a record came from partition {number}, which was never assigned");
            return Err(Ended::Broken(reason));
        };
        if owned.leaving {
            return Ok(()); // Not committed, so the next owner gets it.
        }
        self.session.consumer.context().connection().answered();
        self.still_the_same_topics()?;
        let Some(owned) = self.owned.get(&slot) else { return Ok(()) };
        if owned.last_offset.is_some_and(|last| offset <= last) {
            self.log_went_back(slot, offset)?;
        }
        let record = ffi::record(message, identity.source(slot).topic.clone());
        let lane = lane_of(self.poll.order, &record);
        let item = self.item(slot, record);
        if let Some(owned) = self.owned.get_mut(&slot) {
            owned.last_offset = Some(offset);
            owned.backlog.arrived();
            owned.gathered.push((lane, item));
        }
        Ok(())
    }

    /// A record with what its retry topic says about it.
    fn item(&self, slot: Slot, record: RawRecord) -> Item<RawRecord> {
        let (offset, bytes) = (record.offset, record.size());
        let tier = self.poll.identity.source(slot).tier;
        let trail = tier.map(|tier| (tier, letters::read(record.headers())));
        let mut item = Item::new(record, offset, bytes);
        if let Some((tier, trail)) = trail {
            let now_ms = Clock::system().now_ms();
            item.failures = trail.attempt.unwrap_or(1).saturating_sub(1);
            item.first_failure_ms = Some(trail.first_failure_ms.unwrap_or(now_ms));
            let wait = trail.wait(tier, now_ms);
            item.due = (!wait.is_zero()).then(|| Instant::now() + wait);
        }
        item
    }

    fn hand_over(&mut self) {
        let now = Instant::now();
        let gathered = self.owned.iter_mut().filter(|(_, owned)| !owned.gathered.is_empty());
        let all: Vec<_> =
            gathered.map(|(slot, owned)| (*slot, std::mem::take(&mut owned.gathered))).collect();
        if all.is_empty() {
            return;
        }
        let left_out: usize = self.dispatch.with(|schedule| {
            all.into_iter().map(|(slot, items)| schedule.push(slot, items, now)).sum()
        });
        self.poll.board.left_out(left_out);
    }

    fn reported(&mut self, error: KafkaError) -> Result<(), Ended> {
        if let KafkaError::PartitionEOF(number) = error {
            // Only the number is told; with several topics one of them has ended, and the others are taken for it.
            let ended = self.owned.iter_mut().filter(|(slot, _)| slot.partition == number);
            ended.for_each(|(_, owned)| owned.backlog.reached_end());
            return Ok(());
        }
        let code = error.rdkafka_error_code();
        if let KafkaError::MessageConsumptionFatal(fatal) = error {
            let reason = format!("the client ended fatally: {fatal}");
            return Err(if fatal == RDKafkaErrorCode::FencedInstanceId {
                Ended::Fenced(reason)
            } else {
                Ended::Broken(reason)
            });
        }
        if code == Some(RDKafkaErrorCode::PollExceeded) {
            self.poll.board.event(ConsumerEvent::Evicted);
            return Ok(());
        }
        let refused = match code {
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                format!("topic `{}` does not exist; it is waited for", self.poll.identity.topics())
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                format!("topic `{}` may not be read", self.poll.identity.topics())
            }
            Some(RDKafkaErrorCode::GroupAuthorizationFailed) => {
                format!("group `{}` may not be joined", self.poll.identity.broker_group)
            }
            Some(RDKafkaErrorCode::UnreleasedInstanceId) => {
                "another process runs under the same instance id".to_owned()
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

    /// Gives partitions that have just become full a moment, before their flow is stopped.
    ///
    /// To stop a partition's flow is dear: the client throws away all that it has fetched of it, and fetches it again
    /// later. Handlers that only take a little longer than the reading make room in milliseconds, so the loop stops
    /// for these instead. It waits only as long as they make room fast enough, a tenth of a second at most, and a
    /// partition that is stopped already is not waited for: one that is slow for good holds the others up once.
    fn breathe(&self, marks: Marks) {
        if self.poll.control.paused() {
            return;
        }
        let mut before = match self.loads(marks).into_iter().max() {
            Some(fullest) if fullest >= FULL => self.surplus(marks),
            _ => return,
        };
        let step = before.div_ceil(BREATHS);
        while before > 0 && !self.poll.stopping() {
            let until = Instant::now() + BREATH;
            let mut after = before;
            while after > 0 && Instant::now() < until {
                std::thread::park_timeout(LOOK);
                after = self.surplus(marks);
            }
            if after > 0 && after + step > before {
                return;
            }
            before = after;
        }
    }

    /// What all partitions hold above their low marks; at the high mark alone there would be room for a few only.
    fn surplus(&self, marks: Marks) -> usize {
        self.loads(marks).into_iter().map(|load| load.saturating_sub(FULL / 2)).sum()
    }

    /// How full each partition is whose records flow, [`FULL`] at the high mark.
    fn loads(&self, marks: Marks) -> Vec<usize> {
        let load = |view: PartitionView| {
            let records = view.records.saturating_mul(FULL) / marks.records_max;
            records.max(view.bytes.saturating_mul(FULL) / marks.bytes_max)
        };
        self.dispatch.with(|schedule| {
            let slots = self.owned.iter().filter(|(_, owned)| !owned.leaving);
            let views = slots.filter_map(|(slot, _)| schedule.view(*slot));
            views.filter(|view| !view.stopped).map(load).collect()
        })
    }

    /// Stops and resumes the flow into partitions by what is held of them.
    pub(super) fn control_flow(&mut self) {
        let settings = &self.poll.settings;
        let share = self.owned.len().max(1);
        let bytes_max =
            usize::try_from(settings.in_flight_bytes_max.as_u64()).unwrap_or(usize::MAX);
        let marks = Marks {
            records_max: (settings.in_flight_records_max / share).max(1),
            bytes_max: (bytes_max / share).max(1),
        };
        self.breathe(marks);
        let (mut pause, mut resume) = (TopicPartitionList::new(), TopicPartitionList::new());
        let flows = self.dispatch.with(|schedule| {
            let slots = self.owned.iter().filter(|(_, owned)| !owned.leaving);
            slots.map(|(slot, _)| (*slot, schedule.flow(*slot, marks))).collect::<Vec<_>>()
        });
        for (slot, flow) in flows {
            let list = match flow {
                Flow::Pause => &mut pause,
                Flow::Resume => &mut resume,
                Flow::Keep => continue,
            };
            list.add_partition(&self.poll.identity.source(slot).broker_topic, slot.partition);
            if let Some(owned) = self.owned.get_mut(&slot) {
                owned.backlog.flows(flow == Flow::Pause);
            }
        }
        let consumer = &self.session.consumer;
        let paused = if pause.count() > 0 { consumer.pause(&pause) } else { Ok(()) };
        let resumed = if resume.count() > 0 { consumer.resume(&resume) } else { Ok(()) };
        if let Err(error) = paused.and(resumed) {
            tracing::error!(group = self.poll.identity.group, %error, "flow of partitions was not changed");
        }
    }
}

/// What this record must stay in order with.
fn lane_of(order: Order, record: &RawRecord) -> LaneId {
    let alone = || u64::from_ne_bytes(record.offset.to_ne_bytes());
    match (order, record.key()) {
        (Order::Partition, _) => 0,
        (Order::Key, Some(key)) if !sabotage::on(Switch::IgnoreKeyOrder) => HASH.hash_one(key),
        // A record without a key says that it belongs to no order.
        (Order::Key | Order::None, _) => alone(),
    }
}
