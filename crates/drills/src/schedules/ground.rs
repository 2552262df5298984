//! What one schedule drill has to itself, and its storm.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use millrace_checker::Report;
use millrace_checker::occurrences::{OccurrenceHistory, OccurrenceId, OccurrenceLedger, check};
use millrace_envelope::Envelope;
use millrace_outbox::{EncodeError, OutboxRecord, Relay};
use millrace_scheduler::policy::Overlap;
use millrace_scheduler::schedules::{Change, Declared};
use millrace_scheduler::{ChangeJournal, ScheduleWaker, Schedules, TaskEvent, TaskForm, TaskId};
use millrace_testkit::{
    Namespace, Process, Stack, TestDatabase, TestTopics, TopicSpec, try_wait_until,
};
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use tokio::time::{Instant, sleep_until};

use super::instance::{PREFIX, TASKS};
use crate::arena::Shape;
use crate::dice::Dice;
use crate::member::SinkKind;
use crate::process::{keep_output, still_runs};
use crate::sections::Sections;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations/schedules");

/// Each task fires so often.
const INTERVAL: Duration = Duration::from_secs(1);
/// What is due is done by then, or never will be.
const PATIENCE: Duration = Duration::from_secs(90);
const STOP_LIMIT: Duration = Duration::from_secs(25);
const PARTITIONS: i32 = 4;

/// Who is killed does not give its lease back, and its successor has to come before it is killed too.
const SETTINGS: [&str; 8] = [
    "DATABASE__POOL_MIN=1",
    "DATABASE__POOL_MAX=8",
    "DATABASE__ACQUIRE_TIMEOUT=5s",
    "DATABASE__IDLE_IN_TRANSACTION_TIMEOUT=1s",
    "REDIS__OPERATION_TIMEOUT=500ms",
    "REDIS__HOST=127.0.0.1",
    "SCHEDULER__LEASE_TTL=1s",
    "OUTBOX__POLL_INTERVAL=200ms",
];

/// How big a storm is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Tasks, each of which fires once a second.
    pub tasks: usize,
    /// Seconds, and kills.
    pub seconds: usize,
}

/// Everything of one drill.
pub struct Ground<'s> {
    stack: &'s Stack,
    database: TestDatabase,
    pool: PgPool,
    namespace: Namespace,
    named: AtomicU32,
    _topics: TestTopics,
    directory: tempfile::TempDir,
}

/// What an instance does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Looks at what is due, and publishes.
    Dispatches,
    /// Works on it.
    Works,
}

/// An instance's process. Dropping it kills it.
#[derive(Debug)]
pub struct Instance {
    name: String,
    role: Role,
    /// The process.
    pub process: Process,
}

/// The drill's tasks are nobody's business.
#[derive(Debug)]
struct NoJournal;

impl ChangeJournal for NoJournal {
    fn record(&self, _: &Change) -> Result<Option<OutboxRecord>, EncodeError> {
        Ok(None)
    }
}

impl<'s> Ground<'s> {
    /// Makes database and topic.
    ///
    /// # Errors
    /// When they can't be had.
    pub async fn open(stack: &'s Stack) -> Result<Self> {
        let namespace = stack.namespace();
        let sets = [
            &millrace_outbox::MIGRATIONS,
            &millrace_coordination::MIGRATIONS,
            &millrace_scheduler::MIGRATIONS,
            &MIGRATIONS,
        ];
        let database = stack.database("schedules", &sets).await;
        let topics = stack.topics(&namespace, &[TopicSpec::new(TASKS, PARTITIONS)]).await;
        let directory = tempfile::tempdir().context("making a directory for the output")?;
        let (pool, named) = (database.owner_pool(), AtomicU32::new(0));
        Ok(Self { stack, database, pool, namespace, named, _topics: topics, directory })
    }

    /// Where the instances' output lies.
    #[must_use]
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Makes tasks that fire each second; every other one lets occurrences run beside each other.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn declare(&self, tasks: usize) -> Result<()> {
        let settings = Sections::load(&self.settings())?;
        let relay = Relay::new(&self.pool, &settings.kafka, settings.outbox, "conductor").waker();
        let app = self.database.app_pool();
        let schedules = Schedules::new(app, ScheduleWaker::default(), relay, Arc::new(NoJournal));
        let declared: Vec<Declared> = (0..tasks).map(task).collect::<Result<_>>()?;
        schedules.declare(&declared).await.context("declaring the tasks")
    }

    /// Starts an instance.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(&self, role: Role, arguments: &[&str]) -> Result<Instance> {
        let name = format!("i{}", self.named.fetch_add(1, Ordering::Relaxed) + 1);
        let role_word = match role {
            Role::Dispatches => "--dispatches",
            Role::Works => "--works",
        };
        let mut all: Vec<String> =
            ["instance", "--name", &name, role_word].map(str::to_owned).to_vec();
        for text in self.settings() {
            all.extend(["--set".to_owned(), text]);
        }
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let words: Vec<&str> = all.iter().map(String::as_str).collect();
        let process = Process::start_with("lease-drill", &words, [])?;
        Ok(Instance { name, role, process })
    }

    fn settings(&self) -> Vec<String> {
        let own = self.database.env("").into_iter();
        let own = own.map(|(key, value)| format!("{}={value}", key.trim_start_matches("__")));
        let mut all: Vec<String> =
            own.filter(|text| !text.starts_with("DATABASE__POOL_MIN=")).collect();
        all.extend(SETTINGS.map(str::to_owned));
        all.push(format!("REDIS__PORT={}", self.stack.addresses().redis_port));
        all.push(format!("REDIS__KEY_PREFIX={}", self.namespace.redis_prefix));
        let kafka = Shape::new(SinkKind::Inbox).kafka(self.stack, &self.namespace);
        all.extend(kafka.into_iter().map(|text| format!("KAFKA__{text}")));
        all
    }

    /// Kills one dispatcher each second, in turn, and one worker each third; others take their places at once.
    ///
    /// # Errors
    /// When an instance can't be started.
    pub async fn kill_in_turn(&self, seconds: usize, seed: u64) -> Result<Vec<Instance>> {
        let mut dice = Dice::new(seed ^ 0x5c4e_d01e);
        let mut dispatchers =
            vec![self.start(Role::Dispatches, &[])?, self.start(Role::Dispatches, &[])?];
        let mut workers = vec![self.start(Role::Works, &[])?, self.start(Role::Works, &[])?];
        let began = Instant::now();
        for second in 1..=seconds {
            // Not on the second: that is when occurrences are due, and a kill shall find everything.
            let at = Duration::from_secs(u64::try_from(second).unwrap_or(u64::MAX));
            sleep_until(began + at + Duration::from_millis(dice.below(300))).await;
            let oldest = dispatchers.remove(0);
            dispatchers.push(self.replaced(oldest)?);
            if second % 3 == 0 {
                let oldest = workers.remove(0);
                workers.push(self.replaced(oldest)?);
            }
        }
        dispatchers.extend(workers);
        Ok(dispatchers)
    }

    fn replaced(&self, instance: Instance) -> Result<Instance> {
        let ran = still_runs(&instance.name, &instance.process);
        instance.process.kill_9();
        keep_output(self.directory(), &instance.name, &instance.process);
        ran?;
        self.start(instance.role, &[])
    }

    /// Waits until all that is due now is done, false when it isn't in time; says until when it looked.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn caught_up(&self) -> Result<(DateTime<Utc>, bool)> {
        let now = sqlx::query_scalar("select clock_timestamp()").fetch_one(&self.pool);
        let until: DateTime<Utc> = now.await.context("asking for the time")?;
        let done = try_wait_until(PATIENCE, || async {
            let history = self.history(until).await?;
            let done = history.occurrences.iter().filter(|(_, done)| *done).map(|(id, _)| id);
            let done: BTreeSet<&OccurrenceId> = done.collect();
            let open = history.due.iter().filter(|id| !done.contains(id)).count();
            anyhow::ensure!(open == 0, "{open} are open");
            Ok(())
        });
        Ok((until, done.await.is_ok()))
    }

    /// Asks all of them to stop, and waits until they have.
    ///
    /// # Errors
    /// When one doesn't, or had ended by itself.
    pub async fn stop_all(&self, instances: Vec<Instance>) -> Result<()> {
        for instance in &instances {
            still_runs(&instance.name, &instance.process)?;
        }
        instances.iter().for_each(|instance| instance.process.sigterm());
        for Instance { name, process, .. } in instances {
            let ended = try_wait_until(STOP_LIMIT, || async { process.exited() }).await;
            keep_output(self.directory(), &name, &process);
            anyhow::ensure!(ended.is_ok(), "{name} didn't stop:\n{}", process.output());
        }
        Ok(())
    }

    /// Everything that is known of what was due until then.
    ///
    /// # Errors
    /// When the database can't be asked, or a message can't be read.
    pub async fn history(&self, until: DateTime<Utc>) -> Result<OccurrenceHistory> {
        let tasks: Vec<(String, DateTime<Utc>)> =
            self.rows("select id, created_at from scheduled_task").await?;
        let interval = i64::try_from(INTERVAL.as_millis()).unwrap_or(i64::MAX);
        let due = tasks.into_iter().flat_map(|(task, made)| {
            let first = made.timestamp_millis() / interval + 1;
            let last = until.timestamp_millis() / interval;
            (first..=last).map(move |tick| id(task.clone(), tick * interval))
        });
        let due = due.collect();
        let occurrences = "select task, instant, state = 'done' from task_occurrence";
        let occurrences: Vec<(String, DateTime<Utc>, bool)> = self.rows(occurrences).await?;
        let effects: Vec<(String, DateTime<Utc>)> =
            self.rows("select task, instant from fired").await?;
        let messages: Vec<(String,)> = self.rows("select payload from dispatched").await?;
        let dispatches = messages.iter().map(|(payload,)| {
            let envelope = Envelope::<TaskEvent>::decode(payload.as_bytes());
            let TaskEvent::Due(due) = envelope.context("reading a message")?.payload;
            Ok((id(due.task, due.instant_ms), due.attempt))
        });
        let named = |(task, at, done): (String, DateTime<Utc>, bool)| {
            (id(task, at.timestamp_millis()), done)
        };
        Ok(OccurrenceHistory {
            due,
            occurrences: occurrences.into_iter().map(named).collect(),
            dispatches: dispatches.collect::<Result<_>>()?,
            effects: effects
                .into_iter()
                .map(|(task, at)| id(task, at.timestamp_millis()))
                .collect(),
        })
    }

    async fn rows<R>(&self, statement: &'static str) -> Result<Vec<R>>
    where
        R: for<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> + Send + Unpin,
    {
        sqlx::query_as(statement).fetch_all(&self.pool).await.context("reading the rows")
    }
}

/// Blows, waits until all that was due is done, and judges.
///
/// # Errors
/// When the drill itself fails; a broken promise is in the report.
pub async fn blow(ground: &Ground<'_>, size: Size, seed: u64) -> Result<Report<OccurrenceLedger>> {
    ground.declare(size.tasks).await?;
    let instances = ground.kill_in_turn(size.seconds, seed).await?;
    let (until, _) = ground.caught_up().await?;
    ground.stop_all(instances).await?;
    Ok(check(&ground.history(until).await?))
}

fn task(number: usize) -> Result<Declared> {
    let id = TaskId::parse(&format!("{PREFIX}{number}")).context("naming a task")?;
    let overlap = if number.is_multiple_of(2) { Overlap::BufferAll } else { Overlap::AllowAll };
    let mut form = TaskForm { overlap, ..TaskForm::every(INTERVAL) };
    // Nothing may be left out for being late, and a kill may cost an attempt.
    (form.catch_up_ms, form.deadline_ms, form.retry.attempts_max) = (600_000, 30_000, 10);
    Ok(Declared { id, form })
}

fn id(task: String, instant_ms: i64) -> OccurrenceId {
    OccurrenceId { task, instant_ms }
}
