//! A service's scheduled tasks with everything that works them off: database, topic, dispatcher, relay, worker.
//!
//! The tasks are written into the table as they stand there after an edit; putting ten thousand through the API, each in
//! a commit of its own with its audit record, is not what is measured here.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use millrace_common::coordination::{self, Leases, Redis};
use millrace_common::envelope::{ConsumerGroup, Envelope, TopicName};
use millrace_common::messaging::Consumer;
use millrace_common::outbox::{self, Relay};
use millrace_common::runtime::{CancellationToken, Tasks};
use millrace_common::scheduler::{
    self, Dispatcher, DispatcherParts, Role, TaskError, TaskEvent, TaskForm, TaskRun, TaskSpec,
    Worker,
};
use millrace_testkit::{Namespace, Stack, TestDatabase, TestTopics, TopicSpec, try_wait_until};
use sqlx::PgPool;

use crate::settings::Settings;

const SERVICE: &str = "bench";
const GROUP: ConsumerGroup = ConsumerGroup::from_static("bench.tasks");
const TASKS: TopicName = TopicName::from_static("tasks");
const PARTITIONS: i32 = 2;
/// Tasks at once: of the ten connections that a service has by default, two are left to the dispatcher and the watch.
const AT_ONCE: usize = 8;
const PATIENCE: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// A message, by the occurrence that it tells.
type Told = (String, i64);

/// One service.
pub(crate) struct Jobs {
    pub(crate) owner: PgPool,
    pub(crate) app: PgPool,
    namespace: Namespace,
    settings: Settings,
    tasks: Tasks,
    stop: CancellationToken,
    /// Occurrences that were worked on.
    done: Arc<AtomicUsize>,
    _database: TestDatabase,
    _topics: TestTopics,
}

/// A task and its first instant.
pub(crate) struct Due {
    pub(crate) name: String,
    pub(crate) form: TaskForm,
    pub(crate) at: DateTime<Utc>,
}

impl Jobs {
    pub(crate) async fn new(stack: &Stack) -> Result<Self> {
        let namespace = stack.namespace();
        let sets = [&outbox::MIGRATIONS, &coordination::MIGRATIONS, &scheduler::MIGRATIONS];
        let database = stack.database(SERVICE, &sets).await;
        let topics = stack.topics(&namespace, &[TopicSpec::new(TASKS.as_str(), PARTITIONS)]).await;
        let settings = Settings::of(stack, &namespace, &database)?;
        let app = outbox::connect(&settings.database, SERVICE).context("making the pool")?;
        let owner = database.owner_pool();
        let effects = "create table effect (task text, instant timestamptz); \
             grant insert on effect to public";
        sqlx::raw_sql(effects).execute(&owner).await.context("making the effects' table")?;
        Ok(Self {
            owner,
            app,
            settings,
            namespace,
            tasks: Tasks::new(),
            stop: CancellationToken::new(),
            done: Arc::default(),
            _database: database,
            _topics: topics,
        })
    }

    /// A dispatcher whose messages stay in the outbox.
    pub(crate) fn dispatcher(&self) -> Result<Dispatcher> {
        self.dispatcher_before(&self.relay())
    }

    fn dispatcher_before(&self, relay: &Relay) -> Result<Dispatcher> {
        let redis = Redis::connect(&self.settings.redis)?;
        Ok(Dispatcher::new(DispatcherParts {
            service: SERVICE.to_owned(),
            pool: self.app.clone(),
            leases: Leases::new(redis, self.app.clone(), "bench-1"),
            tasks: self.tasks.clone(),
            relay: relay.waker(),
            settings: self.settings.scheduler.clone(),
        }))
    }

    fn relay(&self) -> Relay {
        Relay::new(&self.app, &self.settings.kafka, self.settings.outbox.clone(), SERVICE)
    }

    /// Starts dispatcher, relay and worker, and waits until all of them can work.
    pub(crate) async fn start(&self) -> Result<()> {
        let relay = self.relay();
        let dispatcher = self.dispatcher_before(&relay)?;
        self.tasks.spawn("relay", relay.run(self.stop.clone()));
        self.tasks.spawn("dispatcher", dispatcher.clone().run(self.stop.clone()));
        let done = Arc::clone(&self.done);
        let worker = Worker::builder(SERVICE, "bench-1", self.app.clone(), dispatcher.waker())
            .tasks("", move |run| leave_an_effect(run, Arc::clone(&done)))
            .build();
        self.tasks.spawn("task-watch", worker.clone().watch(self.stop.clone()));
        let consumer = Consumer::new(GROUP, TASKS, worker)
            .concurrency(AT_ONCE)
            .start(&self.settings.kafka, &self.tasks, self.stop.clone())
            .context("starting the worker's consumer")?;
        let partitions = usize::try_from(PARTITIONS).context("counting partitions")?;
        try_wait_until(PATIENCE, || async {
            let (role, owned) =
                (dispatcher.health().status().role, consumer.health().partition_count);
            let ready = role == Role::Leading && owned == partitions;
            if ready { Ok(()) } else { Err(format!("{role:?} with {owned} partitions")) }
        })
        .await
        .map_err(anyhow::Error::msg)
    }

    /// Ends what [`Jobs::start`] started.
    pub(crate) async fn stop(&self) -> Result<()> {
        self.stop.cancel();
        let left = self.tasks.wait(STOP_LIMIT).await;
        ensure!(left.is_empty(), "tasks did not end: {left:?}");
        let panicked = self.tasks.panicked();
        ensure!(panicked.is_empty(), "tasks panicked: {panicked:?}");
        Ok(())
    }

    /// The database's clock, in whole milliseconds.
    pub(crate) async fn now(&self) -> Result<DateTime<Utc>> {
        let now = "select date_trunc('milliseconds', clock_timestamp())";
        Ok(sqlx::query_scalar(now).fetch_one(&self.owner).await?)
    }

    /// Writes tasks that are due once, `interval` apart from `first` on. One statement, one commit.
    pub(crate) async fn put_once(
        &self,
        prefix: &str,
        count: i32,
        first: DateTime<Utc>,
        interval: TimeDelta,
    ) -> Result<()> {
        let dues = (0..count).map(|number| {
            let at = first + interval * number;
            Due {
                name: format!("{prefix}-{number}"),
                form: TaskForm::at(at.timestamp_millis()),
                at,
            }
        });
        self.put(dues.collect()).await
    }

    /// Writes tasks as an operator's edits leave them.
    pub(crate) async fn put(&self, dues: Vec<Due>) -> Result<()> {
        if let Some(due) = dues.first() {
            TaskSpec::try_from_form(due.form.clone())
                .context("a form that the API would refuse")?;
        }
        let names: Vec<&str> = dues.iter().map(|due| due.name.as_str()).collect();
        let forms: Result<Vec<String>, _> =
            dues.iter().map(|due| serde_json::to_string(&due.form)).collect();
        let instants: Vec<DateTime<Utc>> = dues.iter().map(|due| due.at).collect();
        sqlx::query(
            "insert into scheduled_task (id, origin, version, spec, next_at, look_at) \
             select name, 'operator', 1, form::jsonb, instant, instant \
             from unnest($1::text[], $2::text[], $3::timestamptz[]) as t(name, form, instant)",
        )
        .bind(&names)
        .bind(&forms?)
        .bind(&instants)
        .execute(&self.owner)
        .await
        .context("writing tasks")?;
        Ok(())
    }

    /// Waits until so many occurrences were worked on since the start.
    pub(crate) async fn worked(&self, count: usize, patience: Duration) -> Result<()> {
        let worked = try_wait_until(patience, || async {
            let done = self.done.load(Ordering::SeqCst);
            if done >= count { Ok(()) } else { Err(format!("{done} of {count} were worked on")) }
        });
        match worked.await {
            Ok(()) => Ok(()),
            Err(last) => bail!("{last} within {patience:?}; {}", self.left_over().await?),
        }
    }

    /// Where those are that have not ended.
    async fn left_over(&self) -> Result<String> {
        let open: Vec<(String, i32, i64, String)> = sqlx::query_as(
            "select state, attempt, count(*), coalesce(min(reason), 'no reason') from task_occurrence \
             where state <> 'done' group by state, attempt order by state, attempt",
        )
        .fetch_all(&self.owner)
        .await?;
        let unwritten = "select count(*) from scheduled_task where look_at <= now()";
        let (due, messages) =
            (self.count(unwritten).await?, self.count("select count(*) from outbox").await?);
        Ok(format!("{due} tasks are due, {messages} messages are in the outbox, open: {open:?}"))
    }

    pub(crate) async fn execute(&self, statement: &'static str) -> Result<()> {
        sqlx::query(statement).execute(&self.owner).await.context(statement)?;
        Ok(())
    }

    async fn count(&self, query: &'static str) -> Result<usize> {
        let count: i64 = sqlx::query_scalar(query).fetch_one(&self.owner).await.context(query)?;
        Ok(usize::try_from(count)?)
    }

    /// Whether the backlog is `count` occurrences that were dispatched, each told by one row of the outbox, and nothing
    /// else.
    pub(crate) async fn dispatched_once(&self, count: usize) -> Result<Result<(), String>> {
        let rows = self.count("select count(*) from task_occurrence").await?;
        let open = "select count(*) from task_occurrence where state = 'dispatched' and attempt = 1 \
             and fence is not null";
        let open = self.count(open).await?;
        let payloads: Vec<String> =
            sqlx::query_scalar("select payload from outbox").fetch_all(&self.owner).await?;
        let told = told(payloads.iter().map(String::as_bytes))?;
        Ok(if rows == count && open == count {
            self.books(&told, payloads.len(), count).await?
        } else {
            Err(format!("{rows} occurrences, {open} of them dispatched, of {count}"))
        })
    }

    /// Whether `count` occurrences ended as done, each with one effect and one message, and nothing else.
    pub(crate) async fn effective_once(&self, count: usize) -> Result<Result<(), String>> {
        let rows = self.count("select count(*) from task_occurrence").await?;
        let done = self.count("select count(*) from task_occurrence where state = 'done'").await?;
        let effects = self.count("select count(*) from effect").await?;
        let unlike = "select count(*) from effect full join task_occurrence using (task, instant) \
             where effect.task is null or task_occurrence.task is null";
        let unlike = self.count(unlike).await?;
        let left = self.count("select count(*) from outbox").await?;
        if (rows, done, effects, unlike, left) != (count, count, count, 0, 0) {
            return Ok(Err(format!(
                "{rows} occurrences, {done} done, {effects} effects, {unlike} of either alone, {left} messages left, \
                 of {count}"
            )));
        }
        Ok(Ok(()))
    }

    /// Whether the topic has `count` messages, one for each occurrence.
    pub(crate) async fn published_once(
        &self,
        stack: &Stack,
        count: usize,
    ) -> Result<Result<(), String>> {
        let records = stack.records(&self.namespace.topic(TASKS.as_str())).await;
        let told =
            told(records.iter().map(|record| record.payload.as_deref().unwrap_or_default()))?;
        self.books(&told, records.len(), count).await
    }

    /// Whether the messages tell each occurrence of the table once.
    async fn books(
        &self,
        told: &HashSet<Told>,
        messages: usize,
        count: usize,
    ) -> Result<Result<(), String>> {
        let rows: Vec<(String, DateTime<Utc>)> =
            sqlx::query_as("select task, instant from task_occurrence")
                .fetch_all(&self.owner)
                .await?;
        let missing = rows
            .into_iter()
            .filter(|(task, at)| !told.contains(&(task.clone(), at.timestamp_millis())));
        let missing = missing.count();
        Ok(if (messages, told.len(), missing) == (count, count, 0) {
            Ok(())
        } else {
            let different = told.len();
            Err(format!(
                "{messages} messages of {different} occurrences, {missing} not told, of {count}"
            ))
        })
    }
}

fn told<'a>(payloads: impl Iterator<Item = &'a [u8]>) -> Result<HashSet<Told>> {
    payloads
        .map(|payload| {
            let envelope = Envelope::<TaskEvent>::decode(payload).context("reading a message")?;
            let TaskEvent::Due(due) = envelope.payload;
            Ok((due.task, due.instant_ms))
        })
        .collect()
}

/// The work: one row, in one commit with the occurrence's end.
async fn leave_an_effect(run: TaskRun, done: Arc<AtomicUsize>) -> Result<(), TaskError> {
    let mut transaction = run.begin().await?;
    sqlx::query("insert into effect (task, instant) values ($1, $2)")
        .bind(run.task())
        .bind(run.instant())
        .execute(&mut *transaction)
        .await
        .map_err(outbox::StoreError)?;
    run.finish(transaction).await?;
    done.fetch_add(1, Ordering::SeqCst);
    Ok(())
}
