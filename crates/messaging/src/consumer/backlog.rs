//! How far one partition is behind, and whether records that the broker has don't arrive.

use std::time::{Duration, Instant};

use super::watermarks::Watermark;

#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// The client said that it has read to the end, and nothing came since.
    at_end: bool,
    /// When it said so last.
    read_at: Option<Instant>,
    /// The end as the broker told it after the client had read to the end.
    end_when_read: Option<i64>,
    watermark: Option<Watermark>,
    /// Nothing is fetched just now: the end moves without being read.
    stopped: bool,
    /// Since when the broker answers that it has records, while none arrives.
    unread_since: Option<Instant>,
}

impl Backlog {
    /// A record came.
    pub(super) fn arrived(&mut self) {
        self.at_end = false;
        self.end_when_read = None;
        self.unread_since = None;
    }

    /// The client read to the end of the partition, which may have moved without a record: by transaction markers,
    /// or by records of a transaction that was aborted.
    pub(super) fn reached_end(&mut self) {
        self.at_end = true;
        self.read_at = Some(Instant::now());
        self.end_when_read = None;
        self.unread_since = None;
    }

    /// The flow into it was stopped or resumed. What the broker tells meanwhile says nothing about where was read to.
    pub(super) fn flows(&mut self, stopped: bool) {
        self.stopped = stopped;
        self.read_at = Some(Instant::now());
        self.explained();
    }

    /// The broker did not answer, or the flow changed: what is unread now is explained by that.
    pub(super) fn explained(&mut self) {
        self.unread_since = None;
    }

    /// Takes what the broker told; `position` is what would be committed, `held` the records in memory.
    pub(super) fn know(&mut self, watermark: Watermark, position: Option<i64>, held: usize) {
        // An answer to a question from before may tell of an end that has long been read past: the next one would look
        // like records that don't arrive.
        let since = self.read_at.is_some_and(|read_at| watermark.asked_at >= read_at);
        if self.at_end && since && !self.stopped && self.end_when_read.is_none() {
            self.end_when_read = Some(watermark.end);
        }
        self.watermark = Some(watermark);
        let unread = match (self.at_end, self.end_when_read) {
            // Offsets that are never delivered (transaction markers) lie below the end that was read to.
            (true, Some(end_when_read)) => watermark.end > end_when_read,
            (true, None) => false,
            (false, _) => self.lag(position, held).unwrap_or(0) > 0,
        };
        self.unread_since = unread.then(|| self.unread_since.unwrap_or(watermark.asked_at));
    }

    /// Records that are not finished, as far as the broker was asked.
    pub(super) fn lag(&self, position: Option<i64>, held: usize) -> Option<i64> {
        let watermark = self.watermark?;
        if let (true, Some(read)) = (self.at_end, self.end_when_read) {
            // Offsets below the end that are never delivered don't wait for anybody.
            let held = i64::try_from(held).unwrap_or(i64::MAX);
            return Some(held.saturating_add((watermark.end - read).max(0)));
        }
        let finished = position.unwrap_or(watermark.base).max(watermark.base);
        Some((watermark.end - finished).max(0))
    }

    /// The broker has records, nothing stops the flow, and none has arrived for so long.
    pub(super) fn starves(&self, limit: Duration, now: Instant) -> bool {
        self.unread_since.is_some_and(|since| now.saturating_duration_since(since) >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn later() -> Instant {
        Instant::now() + LIMIT * 2
    }

    fn at(end: i64) -> Watermark {
        Watermark { end, base: 5, asked_at: Instant::now() }
    }

    #[test]
    fn records_that_the_broker_has_and_the_client_does_not_deliver_are_a_stall() {
        let mut backlog = Backlog::default();
        backlog.know(at(5), None, 0);
        assert!(!backlog.starves(LIMIT, later()));
        backlog.know(at(7), None, 0);
        assert!(backlog.starves(LIMIT, later()));
        assert_eq!(backlog.lag(None, 0), Some(2));
        // Transaction markers take offsets and are never delivered: the client read to the end, so nothing waits.
        backlog.reached_end();
        backlog.know(at(7), None, 0);
        assert!(!backlog.starves(LIMIT, later()));
        assert_eq!(backlog.lag(Some(5), 0), Some(0));
        // Records in hand lag although the client has read to the end.
        assert_eq!(backlog.lag(Some(5), 2), Some(2));
        // An aborted transaction moved the end, and the client read to it: nothing was delivered, nothing waits.
        backlog.know(at(9), None, 0);
        backlog.reached_end();
        backlog.know(at(9), None, 0);
        assert!(!backlog.starves(LIMIT, later()));
        let mut backlog = Backlog::default();
        backlog.reached_end();
        backlog.know(at(7), None, 0);
        // The end moved since: a wake-up was lost.
        backlog.know(at(8), None, 0);
        assert!(backlog.starves(LIMIT, later()));
        backlog.arrived();
        assert!(!backlog.starves(LIMIT, later()));
    }

    #[test]
    fn an_answer_from_before_the_end_was_read_is_not_taken_for_the_end() {
        let mut backlog = Backlog::default();
        let early = at(7);
        backlog.arrived();
        backlog.reached_end();
        backlog.know(early, Some(7), 1);
        backlog.know(at(8), Some(7), 1);
        assert_eq!(backlog.lag(Some(7), 1), Some(1));
        assert!(!backlog.starves(LIMIT, later()));
    }

    #[test]
    fn what_comes_while_the_flow_is_stopped_lags() {
        let mut backlog = Backlog::default();
        backlog.reached_end();
        backlog.flows(true);
        backlog.know(at(9), Some(7), 0);
        assert_eq!(backlog.lag(Some(7), 0), Some(2));
        backlog.flows(false);
        backlog.know(at(9), Some(7), 0);
        assert!(!backlog.starves(LIMIT, later()));
    }

    #[test]
    fn a_broker_that_comes_back_gets_the_whole_limit_again() {
        let mut backlog = Backlog::default();
        backlog.know(at(7), None, 0);
        backlog.explained();
        assert!(!backlog.starves(LIMIT, later()));
        backlog.know(Watermark { asked_at: later(), ..at(7) }, None, 0);
        assert!(!backlog.starves(LIMIT, later()));
    }
}
