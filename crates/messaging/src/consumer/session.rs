//! One life of the consumer client: opened, polled, closed within a bound.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};

use super::commit::{Committer, Question, Taken};
use super::errand::Errands;
use super::identity::Identity;
use super::positions::{self, Beginnings};
use super::postman::{Errand, Postman, Report};
use super::rebalance::{BrokerPartition, CallbackContext};
use super::transaction::LetterWriter;
use super::watermarks::{self, Watermarks};
use crate::KafkaSettings;
use crate::client::{ClientError, Connection, base_config};
use crate::settings::GroupProtocol;

pub(super) struct Session {
    pub(super) consumer: Arc<BaseConsumer<CallbackContext>>,
    pub(super) watermarks: Errands<Vec<BrokerPartition>, KafkaResult<Watermarks>>,
    pub(super) positions: Errands<Vec<BrokerPartition>, KafkaResult<Beginnings>>,
    pub(super) commits: Errands<Question, Taken>,
    pub(super) letters: Errands<Errand, Report>,
}

impl Session {
    /// Opens a client and subscribes; nothing is asked of the broker yet.
    pub(super) fn open(
        settings: &KafkaSettings,
        identity: &Arc<Identity>,
    ) -> Result<Self, ClientError> {
        let role = format!("consumer {} of {}", identity.broker_group, identity.origin);
        let context = CallbackContext::new(Connection::new(role, settings), Arc::clone(identity));
        let consumer: BaseConsumer<CallbackContext> = consumer_config(settings, identity)
            .create_with_context(context)
            .map_err(ClientError)?;
        let topics: Vec<&str> =
            identity.sources.iter().map(|source| source.broker_topic.as_str()).collect();
        consumer.subscribe(&topics).map_err(ClientError)?;
        let consumer = Arc::new(consumer);
        let no_thread =
            |error: std::io::Error| ClientError(KafkaError::ClientCreation(error.to_string()));
        let asked = Arc::clone(&consumer);
        let watermarks = Errands::start("kafka-watermarks", move |partitions: Vec<_>| {
            watermarks::ask(&asked, &partitions)
        });
        let asked = Arc::clone(&consumer);
        let positions = Errands::start("kafka-positions", move |partitions: Vec<_>| {
            positions::ask(&asked, &partitions)
        });
        let committer =
            Committer { consumer: Arc::clone(&consumer), identity: Arc::clone(identity) };
        let commits = Errands::start("kafka-commits", move |question| committer.run(question));
        let writer = LetterWriter::new(settings, &identity.broker_group);
        let mut postman =
            Postman { consumer: Arc::clone(&consumer), identity: Arc::clone(identity), writer };
        let letters = Errands::start("kafka-letters", move |errand| postman.run(errand));
        Ok(Self {
            consumer,
            watermarks: watermarks.map_err(no_thread)?,
            positions: positions.map_err(no_thread)?,
            commits: commits.map_err(no_thread)?,
            letters: letters.map_err(no_thread)?,
        })
    }

    /// True when a thread that asks the broker has ended.
    pub(super) fn deserted(&self) -> bool {
        self.watermarks.deserted()
            || self.positions.deserted()
            || self.commits.deserted()
            || self.letters.deserted()
    }

    /// Leaves the group and frees the client. Both block for as long as the coordinator likes, so they run on a
    /// thread that is left behind when the bound has passed; the session time-out then does what leaving would.
    pub(super) fn close(self, bound: Duration) -> bool {
        self.consumer.context().close();
        let (closed, wait) = channel();
        let Self { consumer, watermarks, positions, commits, letters } = self;
        let closer = std::thread::Builder::new().name("kafka-close".to_owned()).spawn(move || {
            watermarks.close();
            positions.close();
            commits.close();
            letters.close();
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
        .set("max.poll.interval.ms", settings.poll_interval_max.as_millis().to_string())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        // Tells a partition that was read to its end from one whose records don't arrive.
        .set("enable.partition.eof", "true")
        // Tells which topic bears a name (see `lineage`), in a handful of lines for each answer about topics.
        .set("debug", "metadata")
        .set_log_level(RDKafkaLogLevel::Debug)
        // What is fetched ahead is thrown away when a partition pauses, so it is kept near what is held at most.
        .set("queued.min.messages", settings.in_flight_records_max.to_string())
        .set("queued.max.messages.kbytes", (fetch_bytes / 1024).to_string())
        .set("fetch.max.bytes", fetch_bytes.to_string())
        .set("fetch.queue.backoff.ms", "20")
        .set("receive.message.max.bytes", (fetch_bytes.max(100_000_000) + 1024).to_string())
        .set("message.max.bytes", settings.message_bytes_max.as_u64().to_string());
    match settings.group_protocol {
        GroupProtocol::Classic => {
            config
                .set("group.protocol", "classic")
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("session.timeout.ms", settings.session_timeout.as_millis().to_string())
                .set("heartbeat.interval.ms", settings.heartbeat_interval.as_millis().to_string());
        }
        // Session and heartbeat are the broker's there, and the client refuses to be told them.
        GroupProtocol::Consumer => {
            config.set("group.protocol", "consumer");
            if !settings.group_remote_assignor.is_empty() {
                config.set("group.remote.assignor", &settings.group_remote_assignor);
            }
        }
    }
    if let Some(instance_id) = &identity.instance_id {
        config.set("group.instance.id", instance_id);
    }
    config
}
