//! Partitions come and go.
//!
//! A partition is taken when its committed offset and map are known, and given back when its calls have ended, its
//! letters are published and its offsets committed, or when the bound for that has passed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rdkafka::{Offset, TopicPartitionList};

use super::drain::{Drain, Step};
use super::epochs::EpochState;
use super::state::{Ended, Owned, State};
use crate::consumer::ConsumerEvent;
use crate::consumer::backlog::Backlog;
use crate::consumer::lineage::Incarnation;
use crate::consumer::offsets::{CompletedMap, OffsetTracker};
use crate::consumer::positions::{Beginning, Beginnings, Oddity};
use crate::consumer::rebalance::{BrokerPartition, ClientEvent, assign, unassign};
use crate::consumer::slot::Slot;
use crate::{Handler, metrics};

/// The least between two questions to a coordinator that doesn't answer.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// Assignments whose offsets are not known yet, in the order in which the client waits for their answers.
#[derive(Debug, Default)]
pub(super) struct Joining {
    waiting: VecDeque<Vec<BrokerPartition>>,
    /// Those that the broker was asked about.
    asked: Option<Vec<BrokerPartition>>,
    not_before: Option<Instant>,
}

impl Joining {
    pub(super) fn any(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl<H: Handler> State<'_, H> {
    pub(super) fn client_event(&mut self, event: ClientEvent) {
        let (group, topic) = (self.poll.identity.group, self.poll.identity.origin.as_str());
        match event {
            ClientEvent::Assigned(partitions) => {
                tracing::info!(group, topic, ?partitions, "partitions assigned");
                self.renewal.assigned(Instant::now());
                metrics::rebalanced(group, topic, "assigned");
                self.refused = None;
                self.joining.waiting.push_back(partitions);
            }
            ClientEvent::Revoked { partitions, lost } => {
                tracing::info!(group, topic, ?partitions, lost, "partitions revoked");
                metrics::rebalanced(group, topic, if lost { "lost" } else { "revoked" });
                let numbers = partitions.iter().map(|(_, number)| *number).collect();
                let slots = partitions
                    .iter()
                    .filter_map(|(topic, number)| self.poll.identity.slot(topic, *number))
                    .collect();
                // What was not taken yet is not taken any more.
                self.joining.waiting.retain(|waiting| {
                    waiting.is_empty() || !waiting.iter().any(|place| partitions.contains(place))
                });
                let drain = self.start_drain(slots, lost, Instant::now());
                // Told when it is so: nothing more is begun.
                self.poll.board.event(if lost {
                    ConsumerEvent::Lost { partitions: numbers }
                } else {
                    ConsumerEvent::Revoked { partitions: numbers }
                });
                self.revocations.push(drain);
            }
        }
    }

    /// Takes the partitions whose offsets were told, and asks for those of the next.
    pub(super) fn join(&mut self) {
        match self.session.positions.answer() {
            Some(Ok(beginnings)) => {
                // An answer about partitions that were revoked meanwhile is of no use to those that came instead.
                let asked = self.joining.asked.take();
                if let Some(partitions) =
                    self.joining.waiting.pop_front_if(|first| Some(&*first) == asked.as_ref())
                {
                    self.take(&partitions, &beginnings);
                }
            }
            Some(Err(error)) => {
                tracing::debug!(group = self.poll.identity.group, %error, "offsets were not told; asked again");
                self.joining.asked = None;
                self.joining.not_before = Some(Instant::now() + ASK_AGAIN);
            }
            None => {}
        }
        let wait = self.joining.not_before.is_some_and(|at| Instant::now() < at);
        if let Some(partitions) = self.joining.waiting.front()
            && !wait
            && !self.session.positions.open()
        {
            // An empty assignment is an answer of its own: the client waits for it like for any other.
            self.session.positions.ask(partitions.clone());
            self.joining.asked = Some(partitions.clone());
        }
    }

    /// Answers assignments whose offsets are not known yet. Nothing of them is begun or committed, so the next owner has
    /// all of it. While it closes the client takes back what it assigned and so needs no answer, unless that is nothing:
    /// an empty assignment that nobody answers keeps it from leaving the group.
    pub(super) fn answer_joins(&mut self) {
        for partitions in std::mem::take(&mut self.joining.waiting) {
            let mut list = TopicPartitionList::with_capacity(partitions.len());
            for (topic, number) in &partitions {
                list.add_partition(topic, *number);
            }
            if let Err(error) = assign(&self.session.consumer, &list) {
                tracing::debug!(%error, "assignment was not answered");
            }
        }
    }

    fn take(&mut self, partitions: &[BrokerPartition], beginnings: &Beginnings) {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        let mut taken = Vec::with_capacity(partitions.len());
        for place in partitions {
            let (Some(beginning), Some(slot)) =
                (beginnings.get(place), self.poll.identity.slot(&place.0, place.1))
            else {
                continue;
            };
            self.tell_oddity(place, beginning);
            let offset = beginning.base.map_or(Offset::Beginning, Offset::Offset);
            if let Err(error) = list.add_partition_offset(&place.0, place.1, offset) {
                tracing::error!(group = self.poll.identity.group, %error, "offset was refused");
            }
            taken.push((slot, beginning.clone()));
        }
        if let Err(error) = assign(&self.session.consumer, &list) {
            // The client has lost them meanwhile; whoever has them next begins where we would have.
            tracing::warn!(group = self.poll.identity.group, %error, "assigned partitions were not taken");
            return;
        }
        let numbers = taken.iter().map(|(slot, _)| slot.partition).collect();
        // An empty assignment says that what is owned stays as it is.
        let taken_none = taken.is_empty();
        for (slot, beginning) in taken {
            self.own(slot, beginning.base, beginning.completed, beginning.incarnation);
        }
        // A name may have passed to another topic since the broker was asked.
        self.renewal.check_again();
        if !taken_none {
            self.poll.board.event(ConsumerEvent::Assigned { partitions: numbers });
        }
        (self.lag_asked, self.health_told) = (None, None);
    }

    fn own(
        &mut self,
        slot: Slot,
        base: Option<i64>,
        completed: CompletedMap,
        incarnation: Incarnation,
    ) {
        let closed = self.poll.epochs.is_some();
        let tracker = OffsetTracker::new(base, completed);
        let now = Instant::now();
        let tenure = self.dispatch.with(|schedule| schedule.assign(slot, tracker, closed, now));
        let epoch = if closed { EpochState::Wanted } else { EpochState::None };
        let owned = Owned {
            tenure,
            backlog: Backlog::default(),
            incarnation,
            gathered: Vec::new(),
            last_offset: None,
            epoch,
            leaving: false,
        };
        self.owned.insert(slot, owned);
        self.given_back.remove(&slot);
    }

    /// The broker gave an offset again, or a lower one: the log was made anew or cut. What is in hand belongs to the
    /// old log and must not move an offset of the new one.
    ///
    /// A log that was cut still has what stands below the cut, and some of that may be unfinished. It would be committed
    /// past if this assignment went on behind it, so the session ends, and the next one begins at the committed offset.
    pub(super) fn log_went_back(&mut self, slot: Slot, offset: i64) -> Result<(), Ended> {
        let topic = &self.poll.identity.source(slot).broker_topic;
        tracing::warn!(
            group = self.poll.identity.group,
            topic,
            partition = slot.partition,
            offset,
            "the log went back; its records are taken from there"
        );
        metrics::log_went_back(self.poll.identity.group, self.poll.identity.origin.as_str());
        let gathered = self.owned.get(&slot).and_then(|owned| owned.gathered.first());
        let gathered = gathered.map(|(_, item)| item.offset);
        let position = self.dispatch.with(|schedule| schedule.view(slot)?.position).or(gathered);
        if position.is_some_and(|position| position < offset) {
            let reason = format!(
                "the log of partition {} was cut while records below the cut were unfinished",
                slot.partition
            );
            return Err(Ended::Broken(reason));
        }
        let Some(owned) = self.owned.get(&slot) else { return Ok(()) };
        self.commits.forget(owned.tenure);
        self.own(slot, Some(offset), CompletedMap::default(), owned.incarnation);
        Ok(())
    }

    fn tell_oddity(&self, (topic, partition): &BrokerPartition, beginning: &Beginning) {
        let group = self.poll.identity.group;
        match &beginning.oddity {
            None => {}
            Some(Oddity::Map(reason)) => tracing::warn!(
                group,
                topic,
                partition,
                reason,
                "commit metadata is ignored: records finished above the offset are handled again"
            ),
            Some(Oddity::Deleted { from, to }) => {
                tracing::error!(
                    group,
                    topic,
                    partition,
                    from,
                    to,
                    "records were deleted before this group read them: retention is shorter than its outage"
                );
                metrics::deleted_unread(group, self.poll.identity.origin.as_str(), to - from);
            }
            Some(Oddity::Ahead { committed, end }) => tracing::warn!(
                group,
                topic,
                partition,
                committed,
                end,
                "the committed offset lies behind the end of the log, which is read from its beginning"
            ),
            Some(Oddity::MadeAgain { committed }) => tracing::warn!(
                group,
                topic,
                partition,
                committed,
                "the topic was made again and the committed offset may be that of the one before; \
                 the log is read from its beginning"
            ),
        }
    }

    pub(super) fn start_drain(&mut self, slots: Vec<Slot>, lost: bool, now: Instant) -> Drain {
        self.dispatch.with(|schedule| {
            for slot in &slots {
                schedule.leave(*slot);
                if lost {
                    schedule.abandon(*slot);
                }
            }
        });
        for slot in &slots {
            if let Some(owned) = self.owned.get_mut(slot) {
                owned.leaving = true;
            }
        }
        Drain::start(slots, lost, self.poll.settings.revoke_timeout, now)
    }

    /// Moves what is on its way out; true when a commit is waited for.
    pub(super) fn drain(&mut self, now: Instant) -> bool {
        let mut hurry = false;
        let mut pending = Vec::new();
        for mut drain in std::mem::take(&mut self.revocations) {
            match drain.step(|slot| self.rest(slot), now) {
                // A transaction whose end isn't known may still commit offsets of these partitions.
                Step::Done if self.posting.in_doubt_of(&drain.slots) => {}
                Step::Done => {
                    if drain.cut_off() {
                        tracing::warn!(group = self.poll.identity.group, partitions = ?drain.slots,
                            "work on revoked partitions was cut off");
                    }
                    self.give_back(&drain.slots);
                    self.forget(&drain.slots);
                    continue;
                }
                Step::Abandon => self.abandon(&drain.slots),
                Step::Committing => hurry = true,
                Step::Finishing => {}
            }
            pending.push(drain);
        }
        self.revocations = pending;
        // A stop hurries from its start: what it waits for is about to be committable.
        hurry || self.stop.is_some()
    }

    pub(super) fn give_back(&self, slots: &[Slot]) {
        let mut list = TopicPartitionList::new();
        for slot in slots {
            list.add_partition(&self.poll.identity.source(*slot).broker_topic, slot.partition);
        }
        if let Err(error) = unassign(&self.session.consumer, &list) {
            tracing::warn!(group = self.poll.identity.group, %error, "partitions were not given back");
        }
    }

    pub(super) fn forget(&mut self, slots: &[Slot]) {
        for slot in slots {
            self.dispatch.with(|schedule| schedule.forget(*slot));
            if let Some(owned) = self.owned.remove(slot) {
                self.commits.forget(owned.tenure);
                self.given_back.insert(*slot);
            }
            let topic = self.poll.identity.source(*slot).topic.as_str();
            metrics::forget_lag(self.poll.identity.group, topic, slot.partition);
        }
        self.health_told = None;
    }
}
