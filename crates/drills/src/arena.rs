//! What one drill has to itself, from the first record to the verdict.
//!
//! ```text
//! Arena::open -> feed (a producer that notes) + start (member processes that note) + faults
//!             -> ended (every record has an outcome, or nothing moves any more)
//!             -> judge (members stop, stores are read, the checker speaks)
//! ```
//! The conductor never decides by time whether something was lost: it waits until nothing is missing or nothing
//! moves, and the checker judges what is there.

mod end;
mod feed;
mod harvest;
mod hold;
mod log;
mod member;
mod observe;
mod shape;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use millrace_checker::{History, Report, check};
use millrace_envelope::TopicName;
use millrace_messaging::{Producer, ProducerProfile};
use millrace_outbox::MIGRATIONS;
use millrace_runtime::{CancellationToken, Tasks};
use millrace_testkit::{Namespace, Stack, TestDatabase, TestTopics, TopicSpec};
use sqlx::PgPool;
use sqlx::migrate::Migrator;

pub use end::End;
pub use hold::Hold;
pub use member::{Frozen, Member};
pub use shape::Shape;

use crate::member::{Protocol, Sections, SinkKind};
use crate::notes::{self, Notes};
use crate::parcel::GROUP;
use feed::Feeder;
use shape::GROUP_SETTINGS;

/// The tables of a drill, beside the outbox crate's.
static DRILL_MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// How long the members and tasks of a finished drill may take to stop.
const CLOSE_LIMIT: Duration = Duration::from_secs(20);

/// Everything of one drill.
pub struct Arena<'s> {
    pub(crate) stack: &'s Stack,
    pub(crate) shape: Shape,
    pub(crate) seed: u64,
    pub(crate) namespace: Namespace,
    pub(crate) database: Option<TestDatabase>,
    pub(crate) notes: Notes,
    producer: Producer,
    feeder: Mutex<Feeder>,
    named: AtomicU32,
    tasks: Tasks,
    stop: CancellationToken,
    late_topics: Vec<TopicName>,
    // Deleted when the drill is dropped.
    topics: Mutex<Vec<TestTopics>>,
    // Last: the notes go when nobody writes them any more.
    directory: tempfile::TempDir,
}

impl<'s> Arena<'s> {
    /// Makes topics, database and producer, and begins to observe the group's commits.
    ///
    /// # Errors
    /// When a store or the producer can't be had.
    pub async fn open(stack: &'s Stack, seed: u64, shape: Shape) -> Result<Self> {
        let namespace = stack.namespace();
        let all = shape.topics().into_iter();
        let (late, early) = all.partition::<Vec<_>, _>(|topic| shape.late_topics.contains(topic));
        let topics = stack.topics(&namespace, &specs(&early, shape.partitions)).await;
        if shape.protocol == Protocol::Consumer {
            let group = format!("{GROUP}{}", namespace.group_suffix);
            stack.access().set_group_settings(&group, &GROUP_SETTINGS).await?;
        }
        let database = match shape.sink {
            SinkKind::Notes => None,
            SinkKind::Inbox | SinkKind::Epochs => {
                Some(stack.database("drill", &[&MIGRATIONS, &DRILL_MIGRATIONS]).await)
            }
        };
        let directory = tempfile::tempdir().context("making a directory for the notes")?;
        let notes = Notes::open(&directory.path().join("conductor.jsonl"), "conductor")?;
        let arena = Self {
            producer: producer(stack, &namespace, &shape)?,
            feeder: Mutex::new(Feeder::new(seed, &shape)),
            stack,
            shape,
            seed,
            namespace,
            database,
            notes,
            named: AtomicU32::new(0),
            tasks: Tasks::new(),
            stop: CancellationToken::new(),
            late_topics: late,
            topics: Mutex::new(vec![topics]),
            directory,
        };
        arena.observe()?;
        Ok(arena)
    }

    /// Makes the topics that were left out at first.
    pub async fn make_late_topics(&self) {
        let specs = specs(&self.late_topics, self.shape.partitions);
        let made = self.stack.topics(&self.namespace, &specs).await;
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).push(made);
    }

    /// The drill's database, as its owner.
    #[must_use]
    pub fn owner_pool(&self) -> Option<PgPool> {
        self.database.as_ref().map(TestDatabase::owner_pool)
    }

    /// What the drill's chance is drawn from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Where the notes lie.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn notes_file(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.jsonl"))
    }

    /// A name that no member of this drill has had.
    pub(crate) fn next_name(&self) -> String {
        format!("m{}", self.named.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Stops observing, reads what everybody noted and what the stores hold, and judges it. Members must have ended.
    ///
    /// # Errors
    /// When notes or stores can't be read.
    pub async fn judge(&self) -> Result<Report> {
        let history = self.history().await?;
        Ok(check(&history, &self.shape.promises()))
    }

    /// Everything that is known about the drill.
    ///
    /// # Errors
    /// As [`Arena::judge`].
    pub async fn history(&self) -> Result<History> {
        self.stop.cancel();
        let left = self.tasks.wait(CLOSE_LIMIT).await;
        anyhow::ensure!(left.is_empty(), "tasks of the drill still run: {}", left.join(", "));
        let finals = harvest::finals(self).await?;
        Ok(History::new(notes::read_all(self.directory.path())?, finals))
    }
}

fn specs(topics: &[TopicName], partitions: i32) -> Vec<TopicSpec> {
    topics.iter().map(|topic| TopicSpec::new(topic.as_str(), partitions)).collect()
}

fn producer(stack: &Stack, namespace: &Namespace, shape: &Shape) -> Result<Producer> {
    let mut keys = shape.kafka(stack, namespace);
    keys.push(format!("PUBLISH_TIMEOUT={}ms", shape.acknowledge_limit.as_millis()));
    let sections = Sections::load(&keys, &[])?;
    Ok(Producer::new(&sections.kafka, ProducerProfile::Durable)?)
}
