//! What the client calls back, as events that the poll loop handles when the call is over.
//!
//! A revocation is only noted here. The client waits for the answer, so the loop can let workers finish and commit
//! what they finished while it goes on polling: partitions that stay are not held up by those that go.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::util::Timeout;
use rdkafka::{ClientContext, TopicPartitionList};

use crate::client::Connection;

/// What happened inside a poll.
#[derive(Debug)]
pub(super) enum ClientEvent {
    /// These partitions are ours now.
    Assigned(Vec<i32>),
    /// These shall be given back; when `lost`, somebody else may have them already.
    Revoked { partitions: Vec<i32>, lost: bool },
}

#[derive(Debug)]
pub(super) struct CallbackContext {
    connection: Arc<Connection>,
    // A std mutex: held to push or take, on the polling thread only.
    events: Mutex<VecDeque<ClientEvent>>,
    closing: AtomicBool,
}

impl CallbackContext {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, events: Mutex::default(), closing: AtomicBool::new(false) }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn take_events(&self) -> VecDeque<ClientEvent> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on revocations are answered at once: the loop has drained and nobody would answer later.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    fn push(&self, event: ClientEvent) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
    }
}

/// Gives partitions back to the group.
pub(super) fn unassign<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    }
}

impl ConsumerContext for CallbackContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let partitions: Vec<i32> =
            list.elements().iter().map(|element| element.partition()).collect();
        let answer = if kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.connection.answered();
            let answer = match consumer.rebalance_protocol() {
                RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
                RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(list),
            };
            self.push(ClientEvent::Assigned(partitions));
            answer
        } else if self.closing.load(Ordering::SeqCst) {
            unassign(consumer, list)
        } else {
            self.push(ClientEvent::Revoked { partitions, lost: consumer.assignment_lost() });
            Ok(())
        };
        if let Err(error) = answer {
            tracing::error!(%error, "answer to a rebalance was refused");
        }
    }

    fn main_queue_min_poll_interval(&self) -> Timeout {
        Timeout::After(Duration::from_millis(100))
    }
}

impl ClientContext for CallbackContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.connection.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.connection.reported(&error, reason);
    }

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.connection.token()
    }
}
