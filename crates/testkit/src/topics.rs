//! Topics that exist for one test, and what may befall a topic: deleted and made again, grown, cut at its front,
//! compacted.

use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::janitor;
use crate::kafka::{KafkaAccess, RawOutgoing};
use crate::namespace::Namespace;
use crate::stack::Stack;
use crate::wait::wait_until;

const ADMIN_LIMIT: Duration = Duration::from_secs(20);

/// One topic a test wants.
#[derive(Debug, Clone)]
pub struct TopicSpec {
    /// Its name without the namespace's prefix.
    pub name: String,
    /// Its partitions.
    pub partitions: i32,
    /// Its settings, e.g. `("cleanup.policy", "compact")`.
    pub config: Vec<(String, String)>,
}

impl TopicSpec {
    /// A topic with the broker's own settings.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions, config: Vec::new() }
    }

    /// Compacts the topic as soon as a segment is full of what a later one supersedes: each batch whose records are
    /// dated at least a second after the segment's first begins a new segment.
    #[must_use]
    pub fn compacted_soon(self) -> Self {
        self.with("cleanup.policy", "compact")
            .with("segment.ms", "500")
            .with("min.cleanable.dirty.ratio", "0.01")
            .with("delete.retention.ms", "0")
    }

    /// Adds a setting.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.config.push((key.to_owned(), value.to_owned()));
        self
    }
}

/// Created topics; dropping it deletes them.
#[derive(Debug)]
pub struct TestTopics {
    names: Vec<String>,
    specs: Vec<TopicSpec>,
    access: KafkaAccess,
}

impl TestTopics {
    /// The full names, in the order they were asked for.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Deletes one of them and waits until no broker knows it any more.
    ///
    /// # Panics
    /// When Kafka refuses.
    pub async fn delete(&self, name: &str) {
        let deleted = delete(&self.access, &[name]).await;
        deleted.unwrap_or_else(|error| panic!("{name} was not deleted: {error:?}"));
        wait_until("the topic is gone", ADMIN_LIMIT, || async {
            let known = self.access.partitions(name).await;
            known.err().map(drop)
        })
        .await;
    }

    /// Makes a deleted one again as it was asked for: another topic with the same name, whose offsets start anew.
    ///
    /// # Panics
    /// When Kafka refuses.
    pub async fn create_again(&self, name: &str) {
        let index = self.names.iter().position(|known| known == name);
        let index = index.unwrap_or_else(|| panic!("{name} is none of these topics"));
        create(&self.access, &[name.to_owned()], &self.specs[index..=index])
            .await
            .unwrap_or_else(|error| panic!("{name} was not made again: {error:?}"));
    }

    /// Adds partitions until there are `count`.
    ///
    /// # Panics
    /// When Kafka refuses.
    pub async fn grow(&self, name: &str, count: usize) {
        let grown = grow(&self.access, name, count).await;
        grown.unwrap_or_else(|error| panic!("{name} did not grow: {error:?}"));
    }

    /// Cuts the log's front off: the first record left is the one at `offset`.
    ///
    /// # Panics
    /// When Kafka refuses.
    pub async fn truncate(&self, name: &str, partition: i32, offset: i64) {
        let cut = truncate(&self.access, name, partition, offset).await;
        cut.unwrap_or_else(|error| panic!("{name}/{partition} was not truncated: {error:?}"));
    }
}

impl Drop for TestTopics {
    fn drop(&mut self) {
        let (names, access) = (std::mem::take(&mut self.names), self.access.clone());
        janitor::clean(async move {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            delete(&access, &names).await
        });
    }
}

impl Stack {
    /// Creates the topics in the namespace; they are deleted when the result is dropped.
    ///
    /// # Panics
    /// When Kafka refuses.
    pub async fn topics(&self, namespace: &Namespace, specs: &[TopicSpec]) -> TestTopics {
        self.access().topics(namespace, specs).await
    }
}

impl KafkaAccess {
    /// Creates the topics in the namespace; they are deleted when the result is dropped.
    ///
    /// # Panics
    /// When Kafka refuses.
    pub async fn topics(&self, namespace: &Namespace, specs: &[TopicSpec]) -> TestTopics {
        let names: Vec<String> = specs.iter().map(|spec| namespace.topic(&spec.name)).collect();
        create(self, &names, specs)
            .await
            .unwrap_or_else(|error| panic!("no test topics: {error:?}"));
        TestTopics { names, specs: specs.to_vec(), access: self.clone() }
    }
}

impl KafkaAccess {
    /// Writes the values under one key to a topic that is [`TopicSpec::compacted_soon`], and waits until the broker has
    /// compacted the superseded ones away: holes where they lay. Behind the last value one record of another key is left,
    /// because a log's last segment is never compacted.
    ///
    /// # Panics
    /// When the broker refuses, or hasn't compacted the log within twenty seconds.
    pub async fn write_superseded(
        &self,
        topic: &str,
        partition: i32,
        key: &[u8],
        values: &[&[u8]],
    ) {
        let dated = |key: &[u8], value: &[u8], timestamp_ms| RawOutgoing {
            key: Some(key.to_vec()),
            payload: Some(value.to_vec()),
            headers: Vec::new(),
            timestamp_ms,
        };
        let mut first = None;
        let now_ms = millrace_runtime::Clock::system().now_ms();
        for value in values {
            let offset = self.write_raw(topic, partition, &[dated(key, value, now_ms)]).await;
            first.get_or_insert(offset);
        }
        let later_ms = now_ms + 10_000;
        self.write_raw(topic, partition, &[dated(b"testkit-last", b"", later_ms)]).await;
        let Some(first) = first.filter(|_| values.len() > 1) else { return };
        wait_until("the log is compacted", ADMIN_LIMIT, || async {
            let log = self.log(topic, partition).await;
            let left: Vec<i64> = log.iter().map(|entry| entry.offset).collect();
            if left.contains(&first) { Err(left) } else { Ok(()) }
        })
        .await;
    }
}

async fn create(access: &KafkaAccess, names: &[String], specs: &[TopicSpec]) -> Result<()> {
    let topics: Vec<NewTopic<'_>> = specs
        .iter()
        .zip(names)
        .map(|(spec, name)| {
            let replicas = TopicReplication::Fixed(access.replication());
            let topic = NewTopic::new(name, spec.partitions, replicas);
            spec.config.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let admin = admin(access)?;
    let results = admin.create_topics(&topics, &options()).await.context("creating topics")?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => anyhow::bail!("topic {name} was refused: {code}"),
        }
    }
    let wanted = names.to_vec();
    tokio::task::spawn_blocking(move || wait_until_led(&admin, &wanted)).await?
}

async fn delete(access: &KafkaAccess, names: &[&str]) -> Result<()> {
    let results = admin(access)?.delete_topics(names, &options()).await.context("deleting")?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition)) => {}
            Err((name, code)) => anyhow::bail!("{name}: {code}"),
        }
    }
    Ok(())
}

async fn grow(access: &KafkaAccess, name: &str, count: usize) -> Result<()> {
    let admin = admin(access)?;
    let grown = NewPartitions::new(name, count);
    for result in admin.create_partitions([&grown], &options()).await? {
        result.map_err(|(_, code)| anyhow::anyhow!("{code}"))?;
    }
    let wanted = [name.to_owned()];
    tokio::task::spawn_blocking(move || wait_until_led(&admin, &wanted)).await??;
    let there = access.partitions(name).await?.len();
    anyhow::ensure!(there == count, "{there} partitions are there");
    Ok(())
}

async fn truncate(access: &KafkaAccess, name: &str, partition: i32, offset: i64) -> Result<()> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(name, partition, Offset::Offset(offset))?;
    let cut = admin(access)?.delete_records(&list, &options()).await.context("deleting records")?;
    for element in cut.elements() {
        element.error()?;
    }
    Ok(())
}

/// The controller answers before the broker leads the new partitions; who asks for one at once would be told that it
/// doesn't exist.
fn wait_until_led(admin: &AdminClient<DefaultClientContext>, names: &[String]) -> Result<()> {
    let started = std::time::Instant::now();
    for name in names {
        while let Err(error) = ask_leaders(admin, name) {
            if started.elapsed() > ADMIN_LIMIT {
                return Err(error.context(format!("nobody leads {name}")));
            }
            crate::launch::pause(Duration::from_millis(10));
        }
    }
    Ok(())
}

fn ask_leaders(admin: &AdminClient<DefaultClientContext>, name: &str) -> Result<()> {
    let client = admin.inner();
    let known = client.fetch_metadata(Some(name), ADMIN_LIMIT)?;
    let topic = known.topics().first().context("the topic is not known")?;
    anyhow::ensure!(!topic.partitions().is_empty(), "the topic has no partitions");
    for partition in topic.partitions() {
        client.fetch_watermarks(name, partition.id(), ADMIN_LIMIT)?;
    }
    Ok(())
}

fn admin(access: &KafkaAccess) -> Result<AdminClient<DefaultClientContext>> {
    access.client().create().context("creating an admin client")
}

/// `operation_timeout` makes the broker answer only when the topics are there.
fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ADMIN_LIMIT)).operation_timeout(Some(ADMIN_LIMIT))
}
