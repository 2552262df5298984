//! One owned partition, as the poll loop sees it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_runtime::CancellationToken;
use tokio::sync::mpsc::UnboundedSender;

use super::progress::{Phase, Progress, Snapshot};
use super::record::Record;
use super::watermarks::Watermark;

/// When a partition is paused, and when it is resumed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    pub(super) records_max: usize,
    pub(super) bytes_max: usize,
}

impl Marks {
    fn above_high(self, state: &Snapshot) -> bool {
        state.records >= self.records_max || state.bytes >= self.bytes_max
    }

    fn below_low(self, state: &Snapshot) -> bool {
        state.records <= self.records_max / 2 && state.bytes <= self.bytes_max / 2
    }
}

/// What shall change about a partition's flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Pause,
    Resume,
    Keep,
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) progress: Arc<Progress>,
    pub(super) finish: CancellationToken,
    pub(super) abandon: CancellationToken,
    // Unbounded, because the poll loop must not wait; what is in it is bounded by pausing at the marks.
    inbox: UnboundedSender<Vec<Record>>,
    gathered: Vec<Record>,
    paused: bool,
    /// It is being given back: nothing more is handed over.
    pub(super) leaving: bool,
    pub(super) committed: Option<i64>,
    /// The client said that it has read to the end, and nothing came since.
    at_end: bool,
    /// The end as the broker told it after the client had read to the end.
    end_when_read: Option<i64>,
    watermark: Option<Watermark>,
    /// Since when the broker answers that it has records, while none arrives.
    unread_since: Option<Instant>,
}

impl Partition {
    pub(super) fn new(
        progress: Arc<Progress>,
        inbox: UnboundedSender<Vec<Record>>,
        finish: CancellationToken,
        abandon: CancellationToken,
    ) -> Self {
        Self {
            progress,
            finish,
            abandon,
            inbox,
            gathered: Vec::new(),
            paused: false,
            leaving: false,
            committed: None,
            at_end: false,
            end_when_read: None,
            watermark: None,
            unread_since: None,
        }
    }

    /// Takes a record to be handed over with the next [`Partition::hand_over`].
    pub(super) fn gather(&mut self, record: Record) {
        self.at_end = false;
        self.end_when_read = None;
        self.unread_since = None;
        // A partition on its way out: its records are not committed, so the next owner gets them.
        if !self.leaving {
            self.gathered.push(record);
        }
    }

    /// Hands what was gathered to the worker, one wake-up for all.
    pub(super) fn hand_over(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let records = std::mem::take(&mut self.gathered);
        let bytes = records.iter().map(|record| record.bytes).sum();
        self.progress.handed_over(records.len(), bytes);
        // A worker that has ended is found by its phase; its records stay uncommitted.
        drop(self.inbox.send(records));
    }

    /// The client read to the end of the partition.
    pub(super) fn reached_end(&mut self) {
        self.at_end = true;
    }

    pub(super) fn flow(&mut self, marks: Marks) -> Flow {
        let state = self.progress.read();
        let flow = match self.paused {
            false if marks.above_high(&state) => Flow::Pause,
            true if marks.below_low(&state) => Flow::Resume,
            _ => return Flow::Keep,
        };
        self.paused = flow == Flow::Pause;
        self.unread_since = None;
        flow
    }

    pub(super) fn paused(&self) -> bool {
        self.paused
    }

    /// The offset to commit, when more was finished than the broker knows.
    pub(super) fn to_commit(&self) -> Option<i64> {
        self.progress.read().finished.filter(|finished| self.committed < Some(*finished))
    }

    pub(super) fn watermark(&mut self, watermark: Watermark) {
        if self.at_end && self.end_when_read.is_none() {
            self.end_when_read = Some(watermark.end);
        }
        self.watermark = Some(watermark);
        let unread = match (self.at_end, self.end_when_read) {
            // Offsets that are never delivered (transaction markers) lie below the end that was read to.
            (true, Some(end_when_read)) => watermark.end > end_when_read,
            (true, None) => false,
            (false, _) => self.lag().unwrap_or(0) > 0,
        };
        self.unread_since = unread.then(|| self.unread_since.unwrap_or(watermark.asked_at));
    }

    /// The broker did not answer: what is unread now is explained by its absence.
    pub(super) fn unanswered(&mut self) {
        self.unread_since = None;
    }

    /// Records that are not finished, as far as the broker was asked.
    pub(super) fn lag(&self) -> Option<i64> {
        let watermark = self.watermark?;
        let finished = self.progress.read().finished.unwrap_or(watermark.base);
        Some((watermark.end - finished.max(watermark.base)).max(0))
    }

    /// In words, why nothing has moved here for longer than `limit`, when nothing explains it.
    pub(super) fn stalled(&self, limit: Duration, now: Instant) -> Option<String> {
        let state = self.progress.read();
        let unmoved = now.saturating_duration_since(state.since);
        if self.leaving || unmoved < limit {
            return None;
        }
        match state.phase {
            // A handler that runs so long is as good as hung; one that fails and is tried again is not.
            Phase::Handling => {
                Some(format!("a handler has not come back for {} s", unmoved.as_secs()))
            }
            Phase::Retrying | Phase::Ended => None,
            Phase::Idle if state.records > 0 => {
                Some(format!("{} records wait and none was handed over", state.records))
            }
            Phase::Idle => {
                let unread = self
                    .unread_since
                    .is_some_and(|since| now.saturating_duration_since(since) >= limit);
                (unread && !self.paused)
                    .then(|| "the broker has records that do not arrive".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Marks = Marks { records_max: 4, bytes_max: 1000 };
    const LIMIT: Duration = Duration::from_secs(60);

    fn partition() -> Partition {
        let (inbox, _) = tokio::sync::mpsc::unbounded_channel();
        let (finish, abandon) = (CancellationToken::new(), CancellationToken::new());
        Partition::new(Arc::new(Progress::new()), inbox, finish, abandon)
    }

    fn later() -> Instant {
        Instant::now() + LIMIT * 2
    }

    #[test]
    fn a_partition_pauses_at_the_high_mark_and_resumes_at_the_low_one() {
        let mut partition = partition();
        partition.progress.handed_over(4, 40);
        assert_eq!(partition.flow(MARKS), Flow::Pause);
        partition.progress.settled(1, 1, 10);
        assert_eq!(partition.flow(MARKS), Flow::Keep);
        partition.progress.settled(2, 1, 10);
        assert_eq!(partition.flow(MARKS), Flow::Resume);
        assert_eq!(partition.flow(MARKS), Flow::Keep);
    }

    #[test]
    fn a_retry_explains_a_standstill_and_a_hung_handler_does_not() {
        let partition = partition();
        partition.progress.handed_over(1, 10);
        partition.progress.enter(Phase::Retrying);
        assert_eq!(partition.stalled(LIMIT, later()), None);
        partition.progress.enter(Phase::Handling);
        assert_eq!(partition.stalled(LIMIT, Instant::now()), None);
        assert!(partition.stalled(LIMIT, later()).unwrap().contains("handler"));
        partition.progress.enter(Phase::Idle);
        assert!(partition.stalled(LIMIT, later()).unwrap().contains("none was handed over"));
    }

    #[test]
    fn records_that_the_broker_has_and_the_client_does_not_deliver_are_a_stall() {
        let mut partition = partition();
        let at = |end| Watermark { end, base: 5, asked_at: Instant::now() };
        partition.watermark(at(5));
        assert_eq!(partition.stalled(LIMIT, later()), None);
        partition.watermark(at(7));
        assert!(partition.stalled(LIMIT, later()).unwrap().contains("do not arrive"));
        assert_eq!(partition.lag(), Some(2));
        // Transaction markers take offsets and are never delivered: the client read to the end, so nothing waits.
        partition.reached_end();
        partition.watermark(at(7));
        assert_eq!(partition.stalled(LIMIT, later()), None);
        // The end moved since: a wake-up was lost.
        partition.watermark(at(8));
        assert!(partition.stalled(LIMIT, later()).is_some());
    }

    #[test]
    fn a_broker_that_comes_back_gets_the_whole_limit_again() {
        let mut partition = partition();
        partition.watermark(Watermark { end: 7, base: 5, asked_at: Instant::now() });
        partition.unanswered();
        assert_eq!(partition.stalled(LIMIT, later()), None);
        partition.watermark(Watermark { end: 7, base: 5, asked_at: later() });
        assert_eq!(partition.stalled(LIMIT, later()), None);
    }
}
