//! What a test asks of a Kafka from outside, beside the client that it tests: one broker or three, the same words.
//!
//! Topics and raw records are in [`crate::topics`] and [`crate::records`]; who leads and coordinates, groups and raw
//! logs are in the files beside this one. Everything goes straight to the brokers, never through a fault proxy: a test's
//! own look must not suffer from the fault it set.

use rdkafka::ClientConfig;

use crate::kafka;

/// The way into a Kafka for tests.
#[derive(Debug, Clone)]
pub struct KafkaAccess {
    brokers: String,
    replication: i32,
}

impl KafkaAccess {
    /// Into the brokers on these ports, whose topics get as many replicas as there are brokers, three at most.
    #[must_use]
    pub fn new(ports: &[u16]) -> Self {
        let addresses: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let replication = i32::try_from(ports.len().clamp(1, 3)).unwrap_or(1);
        Self { brokers: addresses.join(","), replication }
    }

    /// The brokers' addresses, as clients' settings want them.
    #[must_use]
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Settings for a bare client; what a test adds comes on top.
    #[must_use]
    pub fn client(&self) -> ClientConfig {
        kafka::client_of(&self.brokers)
    }

    pub(crate) fn replication(&self) -> i32 {
        self.replication
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        self.brokers.split(',')
    }
}
