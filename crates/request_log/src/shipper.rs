//! The task beside the queue: it brings the metrics up to date, tells when lines are lost, and ends the queue.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_messaging::{
    OverflowPolicy, Producer, ProducerQueue, PublishError, QueueCounts, QueueOptions, Undelivered,
};
use millrace_runtime::CancellationToken;

use crate::metrics::Metrics;
use crate::queue::RequestLogQueue;
use crate::settings::RequestLogSettings;

/// How often the metrics are brought up to date.
const UPDATE_INTERVAL: Duration = Duration::from_millis(100);

/// Makes the queue for the HTTP edge and the shipper for the service's tasks. `producer` is one of the bulk profile.
///
/// # Errors
/// When the system has no thread for it.
pub fn request_log(
    settings: &RequestLogSettings,
    producer: &Producer,
) -> std::io::Result<(RequestLogQueue, Shipper)> {
    let options = QueueOptions {
        name: "request-log",
        overflow: OverflowPolicy::DropNewest,
        records_max: settings.queue_records_max,
        bytes_max: usize::try_from(settings.queue_bytes_max.as_u64()).unwrap_or(usize::MAX),
        in_flight_max: settings.batch_records_max,
    };
    let failure = Arc::new(Mutex::new(None));
    let latest = Arc::clone(&failure);
    let queue = ProducerQueue::start(producer, options, move |Undelivered { error, .. }| {
        *latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    })?;
    let metrics = Metrics::new();
    let shipper = Shipper {
        queue: queue.clone(),
        metrics: metrics.clone(),
        drain_timeout: settings.drain_timeout,
        failure,
        failing: false,
        seen: QueueCounts::default(),
    };
    let record_bytes_max =
        usize::try_from(settings.record_bytes_max.as_u64()).unwrap_or(usize::MAX);
    Ok((RequestLogQueue { queue, metrics, record_bytes_max }, shipper))
}

/// Accounts for what the queue ships, and ends it.
#[derive(Debug)]
pub struct Shipper {
    queue: ProducerQueue,
    metrics: Metrics,
    drain_timeout: Duration,
    /// Why a record failed last, until it is logged.
    failure: Arc<Mutex<Option<PublishError>>>,
    failing: bool,
    seen: QueueCounts,
}

impl Shipper {
    /// Runs until `stop`, then ships what is left within the drain time-out.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            self.update();
            let pause = stop.run_until_cancelled(tokio::time::sleep(UPDATE_INTERVAL));
            if pause.await.is_none() {
                break;
            }
        }
        let left = self.queue.close(self.drain_timeout).await;
        self.update();
        // Nobody will count what the client still has; the records given back are counted among those left.
        self.metrics.give_up(left.in_flight);
    }

    fn update(&mut self) {
        let now = self.queue.counts();
        let before = std::mem::replace(&mut self.seen, now);
        self.metrics.update(&before, &now);
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.note(failure.as_ref(), now.delivered > before.delivered);
    }

    /// A change of fortune is logged once; how much it costs is in the metrics.
    fn note(&mut self, failure: Option<&PublishError>, delivering: bool) {
        match failure {
            Some(cause) if !self.failing => {
                self.failing = true;
                let error = millrace_telemetry::error_chain(cause);
                tracing::warn!(error, "request logs are dropped, the broker doesn't take them");
            }
            None if self.failing && delivering => {
                self.failing = false;
                tracing::info!("request logs are shipped again");
            }
            Some(_) | None => {}
        }
    }
}
