//! The task that takes batches off the queue, publishes them, and accounts for every record.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_envelope::EncodedRecord;
use millrace_http::RequestRecord;
use millrace_messaging::Producer;
use millrace_runtime::CancellationToken;

use crate::event::encode;
use crate::metrics::{DropReason, Metrics};
use crate::queue::RequestLogQueue;
use crate::settings::RequestLogSettings;

/// Makes the queue for the HTTP edge and the shipper for the service's tasks.
#[must_use]
pub fn request_log(settings: &RequestLogSettings) -> (RequestLogQueue, Shipper) {
    let metrics = Metrics::new();
    let queue = RequestLogQueue::new(settings, metrics.clone());
    let shipper = Shipper {
        queue: queue.clone(),
        metrics,
        record_bytes_max: usize::try_from(settings.record_bytes_max.as_u64()).unwrap_or(usize::MAX),
        batch_records_max: settings.batch_records_max,
        drain_timeout: settings.drain_timeout,
        failing: AtomicBool::new(false),
    };
    (queue, shipper)
}

/// Ships what the queue holds.
pub struct Shipper {
    queue: RequestLogQueue,
    metrics: Metrics,
    record_bytes_max: usize,
    batch_records_max: usize,
    drain_timeout: Duration,
    failing: AtomicBool,
}

impl Shipper {
    /// Ships until `stop`, then what is left within the drain time-out. `producer` is one of the bulk profile.
    pub async fn run(self, producer: Producer, stop: CancellationToken) {
        let in_flight = InFlight::new(&self.metrics);
        tokio::select! {
            () = self.ship_until(&producer, &in_flight, &stop) => {}
            // From the moment of the stop, the drain has so long and no longer.
            () = async { stop.cancelled().await; tokio::time::sleep(self.drain_timeout).await } => {}
        }
        in_flight.drop_rest();
        let left = self.queue.close();
        self.metrics.drop_many(DropReason::Shutdown, left);
        self.metrics.queued.sub(i64::try_from(left).unwrap_or(i64::MAX));
    }

    /// Ships batch after batch; ends when the stop was asked for and nothing is left.
    async fn ship_until(
        &self,
        producer: &Producer,
        in_flight: &InFlight,
        stop: &CancellationToken,
    ) {
        loop {
            let batch = self.queue.take(self.batch_records_max);
            if !batch.is_empty() {
                self.ship(producer, in_flight, batch).await;
            } else if stop.is_cancelled() {
                return;
            } else {
                tokio::select! {
                    () = self.queue.filled() => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }

    async fn ship(&self, producer: &Producer, in_flight: &InFlight, batch: Vec<RequestRecord>) {
        in_flight.begin(batch.len());
        let messages: Vec<EncodedRecord> =
            batch.iter().filter_map(|record| self.message(in_flight, record)).collect();
        let results = producer.publish_all(&messages).await;
        let mut failure = None;
        for result in results {
            match result {
                Ok(_) => in_flight.shipped(),
                Err(cause) => {
                    in_flight.dropped(DropReason::PublishFailed);
                    failure = Some(cause);
                }
            }
        }
        self.note(failure.as_ref().map(|cause| cause as &(dyn std::error::Error + 'static)));
    }

    /// The record as a message, or the account of why it is none.
    fn message(&self, in_flight: &InFlight, record: &RequestRecord) -> Option<EncodedRecord> {
        let message = encode(record);
        if bytes_of(&message) > self.record_bytes_max {
            in_flight.dropped(DropReason::TooLarge);
            return None;
        }
        Some(message)
    }

    /// A change of fortune is logged once; how much it costs is in the metrics.
    fn note(&self, failure: Option<&(dyn std::error::Error + 'static)>) {
        let was_failing = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(cause) if !was_failing => {
                let chain = millrace_telemetry::error_chain(cause);
                tracing::warn!(
                    error = chain,
                    "request logs are dropped, the broker doesn't take them"
                );
            }
            None if was_failing => tracing::info!("request logs are shipped again"),
            Some(_) | None => {}
        }
    }
}

impl std::fmt::Debug for Shipper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shipper").field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// The records of the batch that is being shipped, none of which may leave the accounts unseen, even when the
/// shipping is cut off by the end of the drain.
struct InFlight {
    metrics: Metrics,
    left: std::sync::atomic::AtomicUsize,
}

impl InFlight {
    fn new(metrics: &Metrics) -> Self {
        Self { metrics: metrics.clone(), left: std::sync::atomic::AtomicUsize::new(0) }
    }

    fn begin(&self, records: usize) {
        self.left.fetch_add(records, Ordering::Relaxed);
    }

    fn shipped(&self) {
        self.metrics.shipped.inc();
        self.leave(1);
    }

    fn dropped(&self, reason: DropReason) {
        self.metrics.drop_one(reason);
        self.leave(1);
    }

    fn drop_rest(&self) {
        let left = self.left.load(Ordering::Relaxed);
        self.metrics.drop_many(DropReason::Shutdown, left);
        self.leave(left);
    }

    fn leave(&self, records: usize) {
        self.left.fetch_sub(records, Ordering::Relaxed);
        self.metrics.queued.sub(i64::try_from(records).unwrap_or(i64::MAX));
    }
}

fn bytes_of(message: &EncodedRecord) -> usize {
    let headers: usize = message.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    message.key.len() + message.payload.as_ref().map_or(0, Vec::len) + headers
}
