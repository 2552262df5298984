//! Topics that exist for one test.

use std::time::Duration;

use anyhow::{Context, Result};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::types::RDKafkaErrorCode;

use crate::namespace::Namespace;
use crate::stack::Stack;
use crate::{janitor, kafka};

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
    port: u16,
}

impl TestTopics {
    /// The full names, in the order they were asked for.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }
}

impl Drop for TestTopics {
    fn drop(&mut self) {
        let (names, port) = (std::mem::take(&mut self.names), self.port);
        janitor::clean(async move {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            admin(port)?.delete_topics(&names, &options()).await.context("deleting topics")?;
            Ok(())
        });
    }
}

impl Stack {
    /// Creates the topics in the namespace; they are deleted when the result is dropped.
    ///
    /// # Panics
    /// When Kafka refuses.
    pub async fn topics(&self, namespace: &Namespace, specs: &[TopicSpec]) -> TestTopics {
        create(self.addresses().kafka_port, namespace, specs)
            .await
            .unwrap_or_else(|error| panic!("no test topics: {error:?}"))
    }
}

async fn create(port: u16, namespace: &Namespace, specs: &[TopicSpec]) -> Result<TestTopics> {
    let names: Vec<String> = specs.iter().map(|spec| namespace.topic(&spec.name)).collect();
    let topics: Vec<NewTopic<'_>> = specs
        .iter()
        .zip(&names)
        .map(|(spec, name)| {
            let topic = NewTopic::new(name, spec.partitions, TopicReplication::Fixed(1));
            spec.config.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let admin = admin(port)?;
    let results = admin.create_topics(&topics, &options()).await.context("creating topics")?;
    for result in results {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => anyhow::bail!("topic {name} was refused: {code}"),
        }
    }
    let wanted = names.clone();
    tokio::task::spawn_blocking(move || wait_until_led(&admin, &wanted)).await??;
    Ok(TestTopics { names, port })
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

fn admin(port: u16) -> Result<AdminClient<DefaultClientContext>> {
    kafka::client(port).create().context("creating an admin client")
}

/// `operation_timeout` makes the broker answer only when the topics are there.
fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ADMIN_LIMIT)).operation_timeout(Some(ADMIN_LIMIT))
}
