//! The bounded queue between the threads that answer requests and the task that ships.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millrace_http::{RequestLog, RequestRecord};
use tokio::sync::Notify;

use crate::metrics::{DropReason, Metrics};
use crate::settings::RequestLogSettings;

/// Takes records and never waits: when full, the newest is dropped and counted. Cloning shares the queue.
#[derive(Debug, Clone)]
pub struct RequestLogQueue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    records_max: usize,
    bytes_max: usize,
    metrics: Metrics,
    // A std mutex: held to move a record, never over an await.
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<RequestRecord>,
    bytes: usize,
    closed: bool,
}

impl RequestLogQueue {
    pub(crate) fn new(settings: &RequestLogSettings, metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            records_max: settings.queue_records_max,
            bytes_max: usize::try_from(settings.queue_bytes_max.as_u64()).unwrap_or(usize::MAX),
            metrics,
            waiting: Mutex::default(),
            filled: Notify::new(),
        }))
    }

    /// Up to `records_max` of the oldest records; empty when there are none.
    pub(crate) fn take(&self, records_max: usize) -> Vec<RequestRecord> {
        let mut waiting = self.lock();
        let count = records_max.min(waiting.records.len());
        let taken: Vec<RequestRecord> = waiting.records.drain(..count).collect();
        waiting.bytes -= taken.iter().map(bytes_of).sum::<usize>();
        taken
    }

    /// Ends when there is something to take, or may be.
    pub(crate) async fn filled(&self) {
        self.0.filled.notified().await;
    }

    /// From now on everything is dropped; gives what was still waiting.
    pub(crate) fn close(&self) -> usize {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.bytes = 0;
        waiting.records.drain(..).count()
    }

    fn push(&self, record: RequestRecord) -> Result<(), DropReason> {
        let bytes = bytes_of(&record);
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(DropReason::Shutdown);
        }
        if waiting.records.len() >= self.0.records_max || waiting.bytes + bytes > self.0.bytes_max {
            return Err(DropReason::QueueFull);
        }
        waiting.bytes += bytes;
        waiting.records.push_back(record);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RequestLog for RequestLogQueue {
    fn record(&self, record: RequestRecord) {
        let metrics = &self.0.metrics;
        metrics.received.inc();
        // Counted as queued before it can be taken, so that the gauge never shows less than nothing.
        metrics.queued.inc();
        match self.push(record) {
            Ok(()) => self.0.filled.notify_one(),
            Err(reason) => {
                metrics.queued.dec();
                metrics.drop_one(reason);
            }
        }
    }
}

/// What a record takes in memory.
fn bytes_of(record: &RequestRecord) -> usize {
    let text = |field: &Option<String>| field.as_ref().map_or(0, String::len);
    size_of::<RequestRecord>() + record.route.len() + text(&record.trace_id) + text(&record.caller)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use millrace_runtime::settings::ByteSize;

    use super::*;

    pub(crate) fn record(route: &str) -> RequestRecord {
        RequestRecord {
            at_ms: 0,
            service: "test",
            method: "GET",
            route: route.to_owned(),
            status: 200,
            latency_us: 1,
            trace_id: None,
            caller: None,
            request_bytes: 0,
            response_bytes: 0,
            level: "INFO",
        }
    }

    fn queue(records: usize, bytes: u64) -> RequestLogQueue {
        let settings = RequestLogSettings {
            queue_records_max: records,
            queue_bytes_max: ByteSize::b(bytes),
            record_bytes_max: ByteSize::kib(1),
            batch_records_max: 10,
            drain_timeout: Duration::from_secs(1),
        };
        RequestLogQueue::new(&settings, Metrics::new())
    }

    #[test]
    fn a_full_queue_drops_the_newest() {
        let queue = queue(2, 1 << 20);
        for route in ["/1", "/2"] {
            assert_eq!(queue.push(record(route)), Ok(()));
        }
        assert_eq!(queue.push(record("/3")), Err(DropReason::QueueFull));
        let routes: Vec<String> = queue.take(10).into_iter().map(|record| record.route).collect();
        assert_eq!(routes, ["/1", "/2"]);
        assert_eq!(queue.push(record("/4")), Ok(()));
    }

    #[test]
    fn the_queue_is_bounded_by_bytes_too_and_gives_them_back() {
        let queue = queue(1000, 1000);
        assert_eq!(queue.push(record(&"x".repeat(600))), Ok(()));
        assert_eq!(queue.push(record(&"x".repeat(600))), Err(DropReason::QueueFull));
        assert_eq!(queue.take(1).len(), 1);
        assert_eq!(queue.push(record(&"x".repeat(600))), Ok(()));
    }

    #[test]
    fn a_closed_queue_drops_everything() {
        let queue = queue(10, 1 << 20);
        assert_eq!(queue.push(record("/1")), Ok(()));
        assert_eq!(queue.close(), 1);
        assert_eq!(queue.push(record("/2")), Err(DropReason::Shutdown));
    }
}
