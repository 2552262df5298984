//! What the loop watches: lag, workers, stalls; and what the health page is told of them.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;

use super::state::State;
use crate::consumer::health::Trouble;
use crate::consumer::partition::Partition;
use crate::consumer::progress::Phase;
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
                self.partitions.values_mut().for_each(Partition::unanswered);
            }
            None => {}
        }
        let due = self.lag_asked.is_none_or(|asked| now - asked >= self.poll.settings.lag_interval);
        if due && !self.partitions.is_empty() && !self.session.watermarks.open() {
            self.lag_asked = Some(now);
            self.session.watermarks.ask(self.partitions.keys().copied().collect());
        }
    }

    fn know(&mut self, watermarks: Watermarks) {
        self.session.consumer.context().connection().answered();
        for (number, watermark) in watermarks {
            if let Some(partition) = self.partitions.get_mut(&number) {
                partition.watermark(watermark);
            }
        }
        self.health_told = None;
    }

    /// A worker ends only when told; one that ended otherwise left its partition without an owner.
    pub(super) fn worker_lost(&self) -> Option<String> {
        if self.poll.stopping() {
            return None;
        }
        let lost = |(number, partition): (&i32, &Partition)| {
            let ended = partition.progress.read().phase == Phase::Ended;
            (ended && !partition.leaving).then(|| format!("the worker of partition {number} ended"))
        };
        self.partitions.iter().find_map(lost)
    }

    pub(super) fn tell_health(&mut self, now: Instant) {
        if self.health_told.is_some_and(|told| now - told < HEALTH_INTERVAL) {
            return;
        }
        self.health_told = Some(now);
        let (group, topic) = (self.poll.identity.group, self.poll.identity.topic.as_str());
        let mut total = 0;
        let mut stalled = None;
        for (number, partition) in &self.partitions {
            if let Some(lag) = partition.lag() {
                metrics::lag(group, topic, *number, lag);
                total += lag;
            }
            let stall = partition.stalled(self.poll.settings.stall_limit, now);
            stalled = stalled.or(stall.map(|reason| format!("partition {number}: {reason}")));
        }
        self.poll.board.owns(self.partitions.len(), total);
        let away = self.session.consumer.context().connection().away();
        let trouble = Trouble {
            stalled: stalled.is_some(),
            reason: stalled
                .or_else(|| away.then(|| "the brokers are away".to_owned()))
                .or_else(|| self.refused.clone()),
        };
        let reason = trouble.reason.clone();
        if self.poll.board.set_trouble(trouble) {
            match reason {
                Some(reason) => tracing::error!(group, topic, reason, "consumer is stalled"),
                None => tracing::info!(group, topic, "consumer is no longer stalled"),
            }
        }
    }
}
