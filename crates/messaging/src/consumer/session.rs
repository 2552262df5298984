//! One life of the consumer client: opened, polled, closed within a bound.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};

use super::commit::{CommitAnswer, Offsets, commit};
use super::errand::Errands;
use super::identity::Identity;
use super::rebalance::CallbackContext;
use super::watermarks::{self, Watermarks};
use crate::KafkaSettings;
use crate::client::{ClientError, Connection, base_config};

pub(super) struct Session {
    pub(super) consumer: Arc<BaseConsumer<CallbackContext>>,
    pub(super) watermarks: Errands<Vec<i32>, KafkaResult<Watermarks>>,
    pub(super) commits: Errands<Offsets, CommitAnswer>,
}

impl Session {
    /// Opens a client and subscribes; nothing is asked of the broker yet.
    pub(super) fn open(settings: &KafkaSettings, identity: &Identity) -> Result<Self, ClientError> {
        let role = format!("consumer {} of {}", identity.group, identity.topic);
        let context = CallbackContext::new(Connection::new(role, settings));
        let consumer: BaseConsumer<CallbackContext> = consumer_config(settings, identity)
            .create_with_context(context)
            .map_err(ClientError)?;
        consumer.subscribe(&[&identity.broker_topic]).map_err(ClientError)?;
        let consumer = Arc::new(consumer);
        let no_thread =
            |error: std::io::Error| ClientError(KafkaError::ClientCreation(error.to_string()));
        let (asked, topic) = (Arc::clone(&consumer), identity.broker_topic.clone());
        let watermarks = Errands::start("kafka-watermarks", move |partitions: Vec<i32>| {
            watermarks::ask(&asked, &topic, &partitions)
        });
        let (committer, topic) = (Arc::clone(&consumer), identity.broker_topic.clone());
        let commits =
            Errands::start("kafka-commits", move |offsets| commit(&committer, &topic, offsets));
        let (watermarks, commits) = (watermarks.map_err(no_thread)?, commits.map_err(no_thread)?);
        Ok(Self { consumer, watermarks, commits })
    }

    /// Leaves the group and frees the client. Both block for as long as the coordinator likes, so they run on a
    /// thread that is left behind when the bound has passed; the session time-out then does what leaving would.
    pub(super) fn close(self, bound: Duration) -> bool {
        self.consumer.context().close();
        let (closed, wait) = channel();
        let Self { consumer, watermarks, commits } = self;
        let closer = std::thread::Builder::new().name("kafka-close".to_owned()).spawn(move || {
            watermarks.close();
            commits.close();
            drop(consumer);
            // An error says that the loop has stopped to wait.
            closed.send(()).is_ok()
        });
        closer.is_ok() && wait.recv_timeout(bound).is_ok()
    }
}

fn consumer_config(settings: &KafkaSettings, identity: &Identity) -> ClientConfig {
    let mut config = base_config(settings);
    let fetch_bytes = settings.fetch_queue_bytes_max.as_u64();
    config
        .set("group.id", &identity.broker_group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", settings.session_timeout.as_millis().to_string())
        .set("heartbeat.interval.ms", settings.heartbeat_interval.as_millis().to_string())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        // Tells a partition that was read to its end from one whose records don't arrive.
        .set("enable.partition.eof", "true")
        // What is fetched ahead is thrown away when a partition pauses, so it is kept near what a worker may hold.
        .set("queued.min.messages", settings.partition_records_max.to_string())
        .set("queued.max.messages.kbytes", (fetch_bytes / 1024).to_string())
        .set("fetch.max.bytes", fetch_bytes.to_string())
        .set("fetch.queue.backoff.ms", "20")
        .set("receive.message.max.bytes", (fetch_bytes.max(100_000_000) + 1024).to_string())
        .set("message.max.bytes", settings.message_bytes_max.as_u64().to_string());
    config
}
