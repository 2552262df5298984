//! The accounts of producer queues, read when they are scraped.
//!
//! A queue's hot path has no metric in it: everything here comes from the queue's own accounts, one reading for all
//! series, so that on each page accepted = delivered + undelivered + dropped + left + records + in flight.

use std::sync::{LazyLock, Mutex, PoisonError};

use millrace_telemetry::metrics::{IntCounterVec, IntGaugeVec, registry};
use prometheus::Opts;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

/// Where a queue's records are, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueCounts {
    /// Records taken in: all others here together.
    pub accepted: u64,
    /// Acknowledged by the broker.
    pub delivered: u64,
    /// Failed, and given back to the queue's owner.
    pub undelivered: u64,
    /// Given up by the queue's policy.
    pub dropped: u64,
    /// Given back by the queue's close.
    pub left: u64,
    /// Waiting for their turn.
    pub waiting: u64,
    /// With the client; their fate is not known yet.
    pub in_flight: u64,
    /// Bytes of what waits.
    pub waiting_bytes: u64,
    /// Records that were not taken in; not among the accepted.
    pub refused: u64,
}

/// One queue as the page shows it.
struct Shown {
    queue: &'static str,
    policy: &'static str,
    read: Box<dyn Fn() -> Reading + Send>,
    before: QueueCounts,
}

/// What a queue says of itself.
pub(crate) struct Reading {
    pub(crate) counts: QueueCounts,
    /// True when nothing will change any more.
    pub(crate) finished: bool,
}

static SHOWN: LazyLock<Mutex<Vec<Shown>>> = LazyLock::new(|| {
    match Queues::new().and_then(|queues| registry().register(Box::new(queues))) {
        Ok(()) => {}
        Err(cause) => tracing::error!(error = %cause, "metrics of queues were not registered"),
    }
    Mutex::default()
});

/// Shows a queue from now on, until it is finished.
pub(crate) fn show_queue(
    queue: &'static str,
    policy: &'static str,
    read: impl Fn() -> Reading + Send + 'static,
) {
    let shown = Shown { queue, policy, read: Box::new(read), before: QueueCounts::default() };
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner).push(shown);
}

struct Queues {
    records: IntGaugeVec,
    bytes: IntGaugeVec,
    in_flight: IntGaugeVec,
    accepted: IntCounterVec,
    delivered: IntCounterVec,
    undelivered: IntCounterVec,
    left: IntCounterVec,
    refused: IntCounterVec,
    dropped: IntCounterVec,
}

impl Queues {
    fn new() -> prometheus::Result<Self> {
        let name = |name: &str, help: &str| {
            Opts::new(format!("messaging_producer_queue_{name}"), help.to_owned())
        };
        let gauge = |of: &str, help: &str| IntGaugeVec::new(name(of, help), &["queue"]);
        let counter = |of: &str, help: &str| IntCounterVec::new(name(of, help), &["queue"]);
        Ok(Self {
            records: gauge("records", "Records that wait in a queue.")?,
            bytes: gauge("bytes", "Bytes of the records that wait in a queue.")?,
            in_flight: gauge("in_flight", "A queue's records that the client has.")?,
            accepted: counter("accepted_total", "Records that a queue took in.")?,
            delivered: counter("delivered_total", "A queue's records that were acknowledged.")?,
            undelivered: counter(
                "undelivered_total",
                "A queue's records that failed and went back to its owner.",
            )?,
            left: counter("left_total", "Records that a queue gave back when it was closed.")?,
            refused: counter("refused_total", "Records that a queue did not take in.")?,
            dropped: IntCounterVec::new(
                name("dropped_total", "Records that a full queue gave up, by its policy."),
                &["queue", "policy"],
            )?,
        })
    }

    fn collectors(&self) -> [&dyn Collector; 9] {
        [
            &self.records,
            &self.bytes,
            &self.in_flight,
            &self.accepted,
            &self.delivered,
            &self.undelivered,
            &self.left,
            &self.refused,
            &self.dropped,
        ]
    }

    fn update(&self, shown: &mut Shown) -> bool {
        let Reading { counts: now, finished } = (shown.read)();
        let before = std::mem::replace(&mut shown.before, now);
        let queue = [shown.queue];
        for (gauge, value) in [
            (&self.records, now.waiting),
            (&self.bytes, now.waiting_bytes),
            (&self.in_flight, now.in_flight),
        ] {
            // Added up, because queues of one name share a series.
            gauge.with_label_values(&queue).add(i64::try_from(value).unwrap_or(i64::MAX));
        }
        for (counter, now, before) in [
            (&self.accepted, now.accepted, before.accepted),
            (&self.delivered, now.delivered, before.delivered),
            (&self.undelivered, now.undelivered, before.undelivered),
            (&self.left, now.left, before.left),
            (&self.refused, now.refused, before.refused),
        ] {
            counter.with_label_values(&queue).inc_by(now - before);
        }
        let dropped = self.dropped.with_label_values(&[shown.queue, shown.policy]);
        dropped.inc_by(now.dropped - before.dropped);
        finished
    }
}

impl Collector for Queues {
    fn desc(&self) -> Vec<&Desc> {
        self.collectors().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut all = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
        for shown in all.iter() {
            for gauge in [&self.records, &self.bytes, &self.in_flight] {
                gauge.with_label_values(&[shown.queue]).set(0);
            }
        }
        all.retain_mut(|shown| !self.update(shown));
        drop(all);
        self.collectors().into_iter().flat_map(Collector::collect).collect()
    }
}
