//! The thread that hands over what waits in a queue.
//!
//! It sleeps while the queue is empty, and after a small batch it sleeps for a moment whatever comes, so that records
//! that trickle in are handed over by the batch and not by the wake-up. It is a thread and no task because handing
//! over takes a lock of the client's per record, thousands of times in a row.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use millrace_envelope::EncodedRecord;
use rdkafka::error::RDKafkaErrorCode;

use super::Ledger;
use crate::producer::instance::{Client, Record};
use crate::producer::outgoing::Parts;
use crate::producer::receipt::{Owner, Receipt};
use crate::producer::topic::Topic;
use crate::producer::{Producer, PublishError, record};

/// Records that are taken at once, at most.
const BATCH_RECORDS_MAX: usize = 4096;
/// A batch below that is small.
const SMALL_BATCH_RECORDS: usize = 512;
/// The pause after a small batch.
const GATHER: Duration = Duration::from_millis(1);
/// How often room in the client is looked for.
const ROOM_LOOK_INTERVAL: Duration = Duration::from_millis(2);

pub(super) struct Pump {
    pub(super) producer: Producer,
    pub(super) ledger: Arc<Ledger>,
    pub(super) topic: Option<Arc<Topic>>,
}

impl Pump {
    /// Ends when the queue is closed and every record has had its fate.
    pub(super) fn run(mut self) {
        let mut batch = VecDeque::new();
        while self.ledger.shell.take(BATCH_RECORDS_MAX, &mut batch) {
            let small = batch.len() < SMALL_BATCH_RECORDS;
            let mut client = self.producer.0.instance.client();
            for record in batch.drain(..) {
                self.hand_over(&mut client, record);
            }
            if small {
                // A flush or close ends the pause by unparking.
                thread::park_timeout(GATHER);
            }
        }
    }

    fn hand_over(&mut self, client: &mut Arc<Client>, offered: EncodedRecord) {
        let shared = &self.producer.0;
        let topic = shared.topics.find_after(&mut self.topic, &offered.topic);
        let owner = Owner::Queue(Arc::clone(&self.ledger), offered.timestamp_ms);
        let span = shared.send_span(&offered);
        let receipt = Box::new(Receipt { topic: Arc::clone(topic), span, owner });
        let refused = match record(topic, Parts::of(&offered), shared.message_bytes_max, receipt) {
            Ok(record) => send(&self.producer, client, topic, record),
            Err(error) => Err(error),
        };
        if let Err(error) = refused {
            self.ledger.undelivered(offered, error);
        }
    }
}

/// Hands a record to the client, however long that is full: it can't be for longer than its messages' time-out.
fn send(
    producer: &Producer,
    client: &mut Arc<Client>,
    topic: &Topic,
    mut record: Record<'_>,
) -> Result<(), PublishError> {
    loop {
        let Err((error, back)) = client.send(record) else { return Ok(()) };
        record = back;
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) {
            thread::park_timeout(ROOM_LOOK_INTERVAL);
            continue;
        }
        if client.fatal() {
            let fresh = producer.0.instance.client();
            if !Arc::ptr_eq(&fresh, client) {
                // The ended client has not taken it, so it can't be there twice.
                *client = fresh;
                continue;
            }
        }
        return Err(PublishError::of(topic.name.as_str(), error));
    }
}
