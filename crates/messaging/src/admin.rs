//! Topics: created and configured to a table, compared with it, deleted.
//!
//! `ensure` creates what is missing and sets configs that differ. It never changes a partition count, because that
//! moves keys to other partitions and breaks their order, and never a replication factor, because that moves data:
//! both are reported as [`Difference`]s for a person to act on.

mod difference;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millrace_envelope::TopicName;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewTopic, OwnedResourceSpecifier,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

pub use difference::{Difference, EnsureReport};

use crate::KafkaSettings;
use crate::client::{ClientError, Connection, PlainContext, base_config};
use crate::naming::Naming;

/// How long one request to the cluster may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// How often a change is looked for until the brokers' metadata shows it, and how many times.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const LOOKS_MAX: u32 = 500;

/// What one topic shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// The logical name.
    pub name: TopicName,
    /// Number of partitions.
    pub partitions: i32,
    /// Replicas of each partition.
    pub replication: i32,
    /// Configs by the broker's names, e.g. `retention.ms`; others stay as they are.
    pub configs: BTreeMap<String, String>,
}

/// Why the topics are not known to be as they shall be.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The client refused its settings.
    #[error("admin client was not created")]
    Create(#[source] ClientError),
    /// The token for OAUTHBEARER is not to be had.
    #[error("no token for the admin client: {0}")]
    Token(String),
    /// The cluster did not answer.
    #[error("{attempt} got no answer")]
    Unanswered {
        /// What was attempted.
        attempt: &'static str,
        /// What the client said.
        #[source]
        cause: ClientError,
    },
    /// The cluster said no for one topic.
    #[error("{attempt} failed for topic `{topic}`: {reason}")]
    Refused {
        /// What was attempted.
        attempt: &'static str,
        /// The topic's name on the broker.
        topic: String,
        /// What the broker said.
        reason: String,
    },
    /// The cluster took the change, and its metadata doesn't show it.
    #[error("topic `{topic}` was changed, but {missing}")]
    NotVisible {
        /// The topic's name on the broker.
        topic: String,
        /// What is not there to be seen.
        missing: &'static str,
    },
}

/// Creates, compares and deletes topics.
pub struct TopicAdmin {
    client: Arc<AdminClient<PlainContext>>,
    connection: Arc<Connection>,
    naming: Naming,
    uses_oauth: bool,
}

/// One topic as the cluster has it.
struct Existing {
    partitions: i32,
    replication: i32,
    ready: bool,
}

impl TopicAdmin {
    /// Starts an admin client.
    ///
    /// # Errors
    /// When the client refuses its settings.
    pub fn new(settings: &KafkaSettings) -> Result<Self, AdminError> {
        let connection = Connection::new("topic admin", settings);
        let client = base_config(settings)
            .create_with_context(PlainContext(Arc::clone(&connection)))
            .map_err(|error| AdminError::Create(ClientError(error)))?;
        Ok(Self {
            client: Arc::new(client),
            connection,
            naming: Naming::new(settings),
            uses_oauth: settings.uses_oauth(),
        })
    }

    /// Creates missing topics and sets differing configs; what it doesn't change it reports.
    ///
    /// # Errors
    /// See [`AdminError`]; part of the work may be done, and asking again does the rest.
    pub async fn ensure(&self, topics: &[TopicConfig]) -> Result<EnsureReport, AdminError> {
        let mut report = EnsureReport::default();
        let differences = self.diff(topics).await?;
        let missing =
            |topic: &&TopicConfig| differences.contains(&Difference::Missing(topic.name.clone()));
        let to_create: Vec<&TopicConfig> = topics.iter().filter(missing).collect();
        self.create(&to_create).await?;
        report.created = to_create.iter().map(|topic| topic.name.clone()).collect();
        for topic in topics {
            let of_topic = |difference: &&Difference| difference.is_config_of(&topic.name);
            if differences.iter().any(|difference| of_topic(&difference)) {
                self.alter(topic).await?;
                report.altered.push(topic.name.clone());
            }
        }
        report.left = differences
            .into_iter()
            .filter(|difference| {
                matches!(difference, Difference::Partitions { .. } | Difference::Replication { .. })
            })
            .collect();
        Ok(report)
    }

    /// What differs between the table and the cluster; empty when nothing does. Topics of others are not looked at.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn diff(&self, topics: &[TopicConfig]) -> Result<Vec<Difference>, AdminError> {
        let existing = self.existing().await?;
        let mut differences = Vec::new();
        for topic in topics {
            let Some(found) = existing.get(&self.naming.topic(&topic.name)) else {
                differences.push(Difference::Missing(topic.name.clone()));
                continue;
            };
            if found.partitions != topic.partitions {
                differences.push(Difference::Partitions {
                    topic: topic.name.clone(),
                    wanted: topic.partitions,
                    found: found.partitions,
                });
            }
            if found.replication != topic.replication {
                differences.push(Difference::Replication {
                    topic: topic.name.clone(),
                    wanted: topic.replication,
                    found: found.replication,
                });
            }
            let configs = self.configs(&topic.name).await?;
            for (key, wanted) in &topic.configs {
                let found = configs.get(key).and_then(|(value, _)| value.clone());
                if found.as_ref() != Some(wanted) {
                    differences.push(Difference::Config {
                        topic: topic.name.clone(),
                        key: key.clone(),
                        wanted: wanted.clone(),
                        found,
                    });
                }
            }
        }
        Ok(differences)
    }

    /// Deletes topics; one that doesn't exist is fine.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn delete(&self, topics: &[TopicName]) -> Result<(), AdminError> {
        if topics.is_empty() {
            return Ok(());
        }
        self.refresh_token()?;
        let names: Vec<String> = topics.iter().map(|topic| self.naming.topic(topic)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let attempt = "deleting topics";
        let results =
            self.client.delete_topics(&names, &options()).await.map_err(unanswered(attempt))?;
        for (topic, code) in results.into_iter().filter_map(Result::err) {
            if code != RDKafkaErrorCode::UnknownTopicOrPartition {
                return Err(AdminError::Refused { attempt, topic, reason: code.to_string() });
            }
        }
        Ok(())
    }

    async fn create(&self, topics: &[&TopicConfig]) -> Result<(), AdminError> {
        if topics.is_empty() {
            return Ok(());
        }
        self.refresh_token()?;
        let names: Vec<String> =
            topics.iter().map(|topic| self.naming.topic(&topic.name)).collect();
        let new: Vec<NewTopic<'_>> = topics
            .iter()
            .zip(&names)
            .map(|(topic, name)| {
                let replication = TopicReplication::Fixed(topic.replication);
                let new = NewTopic::new(name, topic.partitions, replication);
                topic.configs.iter().fold(new, |new, (key, value)| new.set(key, value))
            })
            .collect();
        let attempt = "creating topics";
        let results =
            self.client.create_topics(&new, &options()).await.map_err(unanswered(attempt))?;
        for (topic, code) in results.into_iter().filter_map(Result::err) {
            // Somebody else created it since we looked.
            if code != RDKafkaErrorCode::TopicAlreadyExists {
                return Err(AdminError::Refused { attempt, topic, reason: code.to_string() });
            }
        }
        self.wait_for_leaders(&names).await
    }

    /// A topic can be used once the brokers' metadata shows a leader for each partition.
    async fn wait_for_leaders(&self, names: &[String]) -> Result<(), AdminError> {
        let mut looks = 0;
        loop {
            let existing = self.existing().await?;
            let ready = |name: &&String| existing.get(*name).is_some_and(|topic| topic.ready);
            let Some(absent) = names.iter().find(|name| !ready(name)) else { return Ok(()) };
            looks += 1;
            if looks > LOOKS_MAX {
                let missing = "its partitions have no leaders yet";
                return Err(AdminError::NotVisible { topic: absent.clone(), missing });
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// The brokers learn of a change a moment later; whoever alters again before that would read, and then write back,
    /// the configs from before.
    async fn wait_for_configs(&self, topic: &TopicConfig) -> Result<(), AdminError> {
        for _ in 0..LOOKS_MAX {
            let configs = self.configs(&topic.name).await?;
            let visible = |(key, wanted): (&String, &String)| {
                configs.get(key).is_some_and(|(value, _)| value.as_ref() == Some(wanted))
            };
            if topic.configs.iter().all(visible) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        let (topic, missing) =
            (self.naming.topic(&topic.name), "its configs are not to be seen yet");
        Err(AdminError::NotVisible { topic, missing })
    }

    /// Sets the table's configs. The protocol's old form of this request resets what it doesn't name, so what others
    /// set on the topic is read first and sent along.
    async fn alter(&self, topic: &TopicConfig) -> Result<(), AdminError> {
        let name = self.naming.topic(&topic.name);
        let mut wanted: BTreeMap<String, String> = self
            .configs(&topic.name)
            .await?
            .into_iter()
            .filter(|(_, (_, set_on_topic))| *set_on_topic)
            .filter_map(|(key, (value, _))| Some((key, value?)))
            .collect();
        wanted.extend(topic.configs.clone());
        let alter = wanted
            .iter()
            .fold(AlterConfig::new(ResourceSpecifier::Topic(&name)), |alter, (key, value)| {
                alter.set(key, value)
            });
        self.refresh_token()?;
        let attempt = "changing configs";
        let results =
            self.client.alter_configs([&alter], &options()).await.map_err(unanswered(attempt))?;
        match results.into_iter().find_map(Result::err) {
            Some((_, code)) => {
                Err(AdminError::Refused { attempt, topic: name, reason: code.to_string() })
            }
            None => self.wait_for_configs(topic).await,
        }
    }

    /// Configs of one topic: value, and whether it was set on the topic itself.
    async fn configs(
        &self,
        topic: &TopicName,
    ) -> Result<BTreeMap<String, (Option<String>, bool)>, AdminError> {
        self.refresh_token()?;
        let name = self.naming.topic(topic);
        let resource = ResourceSpecifier::Topic(&name);
        let attempt = "reading configs";
        let results = self
            .client
            .describe_configs([&resource], &options())
            .await
            .map_err(unanswered(attempt))?;
        let mut configs = BTreeMap::new();
        for result in results {
            let resource = result.map_err(|code| AdminError::Refused {
                attempt,
                topic: name.clone(),
                reason: code.to_string(),
            })?;
            if resource.specifier != OwnedResourceSpecifier::Topic(name.clone()) {
                continue;
            }
            for entry in resource.entries {
                let set_on_topic = entry.source == ConfigSource::DynamicTopic;
                configs.insert(entry.name, (entry.value, set_on_topic));
            }
        }
        Ok(configs)
    }

    async fn existing(&self) -> Result<BTreeMap<String, Existing>, AdminError> {
        self.refresh_token()?;
        let client = Arc::clone(&self.client);
        // The client's metadata request blocks its thread.
        let metadata = tokio::task::spawn_blocking(move || {
            client.inner().fetch_metadata(None, REQUEST_TIMEOUT)
        })
        .await
        .map_err(|_| KafkaError::Canceled)
        .flatten()
        .map_err(unanswered("reading the list of topics"))?;
        self.connection.answered();
        let existing = metadata.topics().iter().map(|topic| {
            let partitions = topic.partitions();
            let replicas = partitions.first().map_or(0, |partition| partition.replicas().len());
            let found = Existing {
                partitions: i32::try_from(partitions.len()).unwrap_or(i32::MAX),
                replication: i32::try_from(replicas).unwrap_or(i32::MAX),
                ready: !partitions.is_empty() && partitions.iter().all(|p| p.leader() >= 0),
            };
            (topic.name().to_owned(), found)
        });
        Ok(existing.collect())
    }

    fn refresh_token(&self) -> Result<(), AdminError> {
        if !self.uses_oauth {
            return Ok(());
        }
        let token =
            self.connection.token().map_err(|error| AdminError::Token(error.to_string()))?;
        crate::ffi::set_oauth_token(self.client.inner(), token).map_err(AdminError::Token)
    }
}

impl fmt::Debug for TopicAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicAdmin").field("naming", &self.naming).finish_non_exhaustive()
    }
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(REQUEST_TIMEOUT))
        .operation_timeout(Some(REQUEST_TIMEOUT))
}

fn unanswered(attempt: &'static str) -> impl Fn(KafkaError) -> AdminError {
    move |error| AdminError::Unanswered { attempt, cause: ClientError(error) }
}
