//! What the client calls back, as events that the poll loop handles when the call is over.
//!
//! Neither an assignment nor a revocation is answered here; the client waits for the answer. So the loop can read
//! offsets before it takes partitions, and let calls finish before it gives them back, while it goes on polling:
//! partitions that stay are held up by neither.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::util::Timeout;
use rdkafka::{ClientContext, TopicPartitionList};

use super::identity::Identity;
use crate::client::Connection;

/// A topic's name on the broker and a partition.
pub(super) type BrokerPartition = (String, i32);

/// What happened inside a poll.
#[derive(Debug)]
pub(super) enum ClientEvent {
    /// These partitions shall be taken.
    Assigned(Vec<BrokerPartition>),
    /// These shall be given back; when `lost`, somebody else may have them already.
    Revoked { partitions: Vec<BrokerPartition>, lost: bool },
}

#[derive(Debug)]
pub(super) struct CallbackContext {
    connection: Arc<Connection>,
    identity: Arc<Identity>,
    // A std mutex: held to push or take, on the polling thread only.
    events: Mutex<VecDeque<ClientEvent>>,
    any: AtomicBool,
    closing: AtomicBool,
}

impl CallbackContext {
    pub(super) fn new(connection: Arc<Connection>, identity: Arc<Identity>) -> Self {
        Self {
            connection,
            identity,
            events: Mutex::default(),
            any: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What happened since the last call; asked after every record, so the usual answer costs one load.
    pub(super) fn take_events(&self) -> VecDeque<ClientEvent> {
        if !self.any.load(Ordering::Relaxed) {
            return VecDeque::new();
        }
        self.any.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on the client is answered at once: the loop has drained and nobody would answer later.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    fn push(&self, event: ClientEvent) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push_back(event);
        self.any.store(true, Ordering::Relaxed);
    }
}

/// Takes partitions, from the offsets in the list.
pub(super) fn assign<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(partitions),
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
        let assigned = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::SeqCst) {
            let answer = if assigned { assign(consumer, list) } else { unassign(consumer, list) };
            if let Err(error) = answer {
                tracing::debug!(%error, "answer to a rebalance was refused while closing");
            }
            return;
        }
        let elements = list.elements();
        let partitions = elements.iter().map(|e| (e.topic().to_owned(), e.partition())).collect();
        self.push(if assigned {
            self.connection.answered();
            ClientEvent::Assigned(partitions)
        } else {
            ClientEvent::Revoked { partitions, lost: consumer.assignment_lost() }
        });
    }

    fn main_queue_min_poll_interval(&self) -> Timeout {
        Timeout::After(Duration::from_millis(100))
    }
}

impl ClientContext for CallbackContext {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        if let RDKafkaLogLevel::Debug = level {
            // These are asked for to learn of one thing, and else are many.
            return self.identity.lineage.heard(line, Instant::now());
        }
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
