//! What the loop watches: lag and stalls; and what the health page is told of them.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;

use super::PollLoop;
use super::state::State;
use crate::consumer::ConsumerEvent;
use crate::consumer::health::Trouble;
use crate::consumer::slot::Slot;
use crate::consumer::watermarks::Watermarks;
use crate::{Handler, metrics};

/// How often the health is worked out.
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);

impl<H: Handler> State<'_, H> {
    pub(super) fn ask_for_lag(&mut self, now: Instant) {
        match self.session.watermarks.answer() {
            Some(Ok(answer)) => self.know(answer),
            // The lag stays as it was known; that the brokers are away is told by the connection.
            Some(Err(error)) => {
                tracing::debug!(%error, "watermarks were not answered");
                self.owned.values_mut().for_each(|owned| owned.backlog.explained());
            }
            None => {}
        }
        let due = self.lag_asked.is_none_or(|asked| now - asked >= self.poll.settings.lag_interval);
        // Also without partitions: the answer tells by the way which topics bear the names.
        if due && !self.session.watermarks.open() {
            self.lag_asked = Some(now);
            let identity = &self.poll.identity;
            let places = self
                .owned
                .keys()
                .map(|slot| (identity.source(*slot).broker_topic.clone(), slot.partition));
            self.session.watermarks.ask(places.collect());
        }
    }

    fn know(&mut self, watermarks: Watermarks) {
        self.session.consumer.context().connection().answered();
        for ((topic, number), watermark) in watermarks {
            let Some(slot) = self.poll.identity.slot(&topic, number) else { continue };
            let (position, held) = self.held(slot);
            if let Some(owned) = self.owned.get_mut(&slot) {
                owned.backlog.know(watermark, position, held);
            }
        }
        self.health_told = None;
    }

    /// What would be committed of a partition, and the records of it in memory.
    fn held(&self, slot: Slot) -> (Option<i64>, usize) {
        let view = self.dispatch.with(|schedule| schedule.view(slot));
        view.map_or((None, 0), |view| (view.position, view.records))
    }

    pub(super) fn tell_health(&mut self, now: Instant) {
        if self.health_told.is_some_and(|told| now - told < HEALTH_INTERVAL) {
            return;
        }
        self.health_told = Some(now);
        let group = self.poll.identity.group;
        let limit = self.poll.settings.stall_limit;
        let (mut total, mut stalled) = (0, None);
        for (slot, owned) in &self.owned {
            let topic = self.poll.identity.source(*slot).topic.as_str();
            let (position, held) = self.held(*slot);
            if let Some(lag) = owned.backlog.lag(position, held) {
                metrics::lag(group, topic, slot.partition, lag);
                total += lag;
            }
            let stall = self.dispatch.with(|schedule| {
                let view = schedule.view(*slot)?;
                let hung = schedule.stalled(*slot, limit, now);
                // Nothing is in memory, nothing stops the flow, and still nothing comes.
                let idle = view.records == 0 && !view.stopped && !owned.leaving;
                let starves = idle && owned.backlog.starves(limit, now);
                hung.or_else(|| {
                    starves.then(|| "the broker has records that do not arrive".to_owned())
                })
            });
            let named = stall.map(|reason| format!("partition {}: {reason}", slot.partition));
            stalled = stalled.or(named);
        }
        self.poll.board.owns(self.owned.len(), total);
        let away = self.session.consumer.context().connection().away();
        let is_stalled = stalled.is_some();
        let reason = stalled
            .or_else(|| away.then(|| "the brokers are away".to_owned()))
            .or_else(|| self.refused.clone())
            .or_else(|| self.posting.trouble())
            .or_else(|| self.draws.trouble());
        self.poll.tell(Trouble { stalled: is_stalled, reason });
    }
}

impl<H: Handler> PollLoop<H> {
    /// Tells the health, and whoever listens when a stall begins or ends.
    pub(super) fn tell(&self, trouble: Trouble) {
        let (group, topic) = (self.identity.group, self.identity.origin.as_str());
        let Trouble { stalled, reason } = trouble.clone();
        if !self.board.set_trouble(trouble) {
            return;
        }
        if stalled {
            let reason = reason.unwrap_or_default();
            tracing::error!(group, topic, reason, "consumer is stalled");
            metrics::stalled(group, topic);
            self.board.event(ConsumerEvent::Stalled { reason });
        } else {
            tracing::info!(group, topic, "consumer is no longer stalled");
            self.board.event(ConsumerEvent::Recovered);
        }
    }
}
