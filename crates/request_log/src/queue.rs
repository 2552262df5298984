//! The HTTP edge's side: a record becomes a message and is offered to a producer queue, which never waits.

use millrace_http::{RequestLog, RequestRecord};
use millrace_messaging::{ProducerQueue, Refusal};

use crate::event::encode;
use crate::metrics::{DropReason, Metrics};

/// Takes records and never waits: when full, the newest is dropped and counted. Cloning shares the queue.
#[derive(Debug, Clone)]
pub struct RequestLogQueue {
    pub(crate) queue: ProducerQueue,
    pub(crate) metrics: Metrics,
    pub(crate) record_bytes_max: usize,
}

impl RequestLog for RequestLogQueue {
    fn record(&self, record: RequestRecord) {
        let message = encode(&record);
        let headers = message.headers.iter().map(|(name, value)| name.len() + value.len());
        let payload = message.payload.as_ref().map_or(0, Vec::len);
        let bytes = message.key.len() + payload + headers.sum::<usize>();
        let refused = match bytes > self.record_bytes_max {
            true => Some(DropReason::TooLarge),
            // What the queue accepts is in its own accounts, from which the shipper brings the metrics up to date.
            false => self.queue.offer(message).err().map(|refused| match refused.reason {
                Refusal::Full => DropReason::QueueFull,
                Refusal::TooLarge => DropReason::TooLarge,
                Refusal::Closed => DropReason::Shutdown,
            }),
        };
        if let Some(reason) = refused {
            self.metrics.refused(reason);
        }
    }
}
