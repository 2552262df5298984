//! One test's database, topic, keys, dispatchers and workers.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_coordination::{Leases, Redis, RedisSettings};
use millrace_envelope::{ConsumerGroup, Envelope, MessageContext, TopicName};
use millrace_messaging::{Consumer, ConsumerHandle, Handler as _, KafkaSettings};
use millrace_outbox::{
    DATABASE_DEFAULTS, DatabaseSettings, EncodeError, OutboxRecord, RELAY_DEFAULTS, Relay,
    RelaySettings,
};
use millrace_runtime::settings::{Layers, Problems, Validate, load};
use millrace_runtime::{CancellationToken, Clock, Tasks};
use millrace_scheduler::schedules::Change;
use millrace_scheduler::task::ScheduleForm;
use millrace_scheduler::{
    ChangeJournal, Dispatcher, DispatcherParts, MIGRATIONS, OccurrenceState, SchedulerSettings,
    Schedules, TaskError, TaskEvent, TaskForm, TaskId, TaskRun, Worker, WorkerBuilder,
};
use millrace_testkit::{Namespace, Stack, TestDatabase, TestTopics, TopicSpec, wait_until};
use serde::Deserialize;
use sqlx::{PgConnection, PgPool};

use crate::sabotage;

pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
pub(crate) const SERVICE: &str = "jobs";
pub(crate) const BY: &str = "ann";
/// How long Redis may be silent: where it is there, as long as a slow machine makes it.
const REDIS_PATIENCE: &str = "5s";
const REDIS_IMPATIENCE: &str = "300ms";
const GROUP: ConsumerGroup = ConsumerGroup::from_static("jobs.tasks");
const TASKS: TopicName = TopicName::from_static("tasks");

/// What one test has to itself.
pub(crate) struct Bench {
    pub(crate) stack: &'static Stack,
    pub(crate) owner: PgPool,
    pub(crate) app: PgPool,
    pub(crate) namespace: Namespace,
    pub(crate) tasks: Tasks,
    pub(crate) stop: CancellationToken,
    _database: TestDatabase,
    _topics: TestTopics,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Keeps each change in the database's outbox as nothing; the journal's own test looks at the changes.
#[derive(Debug, Default)]
pub(crate) struct Journal(pub(crate) std::sync::Mutex<Vec<Change>>);

impl ChangeJournal for Journal {
    fn record(&self, change: &Change) -> Result<Option<OutboxRecord>, EncodeError> {
        self.0.lock().unwrap().push(change.clone());
        Ok(None)
    }
}

impl Bench {
    pub(crate) async fn new() -> Self {
        sabotage::arm_if_told();
        let stack = Stack::shared().await;
        let namespace = stack.namespace();
        let sets = [&millrace_outbox::MIGRATIONS, &millrace_coordination::MIGRATIONS, &MIGRATIONS];
        let database = stack.database(SERVICE, &sets).await;
        let topics = stack.topics(&namespace, &[TopicSpec::new("tasks", 2)]).await;
        let (owner, app) = (database.owner_pool(), database.app_pool());
        let effects = "create table effect (task text, instant timestamptz, note text); \
             grant select, insert on effect to public";
        sqlx::raw_sql(effects).execute(&owner).await.unwrap();
        Self {
            stack,
            owner,
            app,
            namespace,
            tasks: Tasks::new(),
            stop: CancellationToken::new(),
            _database: database,
            _topics: topics,
        }
    }

    pub(crate) fn dispatcher(&self, settings: &[(&str, &str)]) -> Dispatcher {
        let redis = self.redis(self.stack.addresses().redis_port, REDIS_PATIENCE);
        self.dispatcher_with(&redis, settings)
    }

    /// With another Redis, or none: it soon takes silence for an answer.
    pub(crate) fn dispatcher_at(&self, redis: u16, settings: &[(&str, &str)]) -> Dispatcher {
        self.dispatcher_with(&self.redis(redis, REDIS_IMPATIENCE), settings)
    }

    fn dispatcher_with(&self, redis: &RedisSettings, settings: &[(&str, &str)]) -> Dispatcher {
        let holder = format!("{SERVICE}-{}", uuid::Uuid::now_v7());
        let redis = Redis::connect(redis).unwrap();
        Dispatcher::new(DispatcherParts {
            service: SERVICE.into(),
            pool: self.app.clone(),
            leases: Leases::new(redis, self.app.clone(), holder),
            tasks: self.tasks.clone(),
            relay: self.relay().waker(),
            settings: scheduler_settings(settings),
        })
    }

    fn redis(&self, port: u16, patience: &str) -> RedisSettings {
        let prefix = format!("{}:", self.namespace.id());
        let keys = [
            ("HOST", "127.0.0.1"),
            ("PORT", &port.to_string()),
            ("KEY_PREFIX", &prefix),
            ("CONNECT_TIMEOUT", patience),
            ("OPERATION_TIMEOUT", patience),
        ];
        sections("REDIS", &keys).redis
    }

    pub(crate) fn relay(&self) -> Relay {
        Relay::new(&self.app, &self.kafka(), sections("OUTBOX", &[]).outbox, SERVICE)
    }

    pub(crate) fn kafka(&self) -> KafkaSettings {
        let keys = [
            ("BROKERS", self.stack.brokers()),
            ("TOPIC_PREFIX", self.namespace.topic_prefix.clone()),
            ("GROUP_SUFFIX", self.namespace.group_suffix.clone()),
        ];
        let keys: Vec<(&str, &str)> =
            keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
        sections("KAFKA", &keys).kafka
    }

    pub(crate) fn schedules(&self, dispatcher: &Dispatcher) -> Schedules {
        self.schedules_with(dispatcher, Arc::new(Journal::default()))
    }

    pub(crate) fn schedules_with(
        &self,
        dispatcher: &Dispatcher,
        journal: Arc<Journal>,
    ) -> Schedules {
        Schedules::new(self.app.clone(), dispatcher.waker(), self.relay().waker(), journal)
    }

    /// Starts the relay of one process until the test's end.
    pub(crate) fn relaying(&self) {
        self.tasks.spawn("relay", self.relay().run(self.stop.clone()));
    }

    /// Starts a consumer of `tasks` until the test's end.
    pub(crate) fn working(&self, worker: Worker) -> ConsumerHandle {
        self.tasks.spawn("task-watch", worker.clone().watch(self.stop.clone()));
        let consumer = Consumer::new(GROUP, TASKS, worker);
        consumer.start(&self.kafka(), &self.tasks, self.stop.clone()).unwrap()
    }

    /// Makes a task due: its next instant is so long ago.
    pub(crate) async fn due_since(&self, id: &TaskId, ago: Duration) -> DateTime<Utc> {
        let moved: DateTime<Utc> = sqlx::query_scalar(
            "update scheduled_task set look_at = now() - interval '1 second', \
                 next_at = date_trunc('milliseconds', now() - make_interval(secs => $2)) \
             where id = $1 returning next_at",
        )
        .bind(id.as_str())
        .bind(ago.as_secs_f64())
        .fetch_one(&self.owner)
        .await
        .unwrap();
        moved
    }

    /// The database's time.
    pub(crate) async fn now(&self) -> DateTime<Utc> {
        sqlx::query_scalar("select now()").fetch_one(&self.owner).await.unwrap()
    }

    pub(crate) async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.owner).await.unwrap()
    }

    pub(crate) async fn execute(&self, statement: &'static str) {
        sqlx::query(statement).execute(&self.owner).await.unwrap();
    }

    /// How many occurrences of all tasks are in each state.
    pub(crate) async fn states(&self) -> BTreeMap<String, i64> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("select state, count(*) from task_occurrence group by state")
                .fetch_all(&self.owner)
                .await
                .unwrap();
        rows.into_iter().collect()
    }

    /// Waits until all occurrences are in these states, in these numbers.
    pub(crate) async fn wait_for(&self, expected: &[(OccurrenceState, i64)]) {
        let expected: BTreeMap<String, i64> =
            expected.iter().map(|(state, count)| (state.as_str().to_owned(), *count)).collect();
        wait_until(&format!("the occurrences are {expected:?}"), PATIENCE, || async {
            let states = self.states().await;
            if states == expected { Ok(()) } else { Err(states) }
        })
        .await;
    }

    /// Takes the messages out of the outbox, as a relay would, in their order.
    pub(crate) async fn take_messages(&self) -> Vec<Envelope<TaskEvent>> {
        let mut rows: Vec<(i64, String)> =
            sqlx::query_as("delete from outbox returning seq, payload")
                .fetch_all(&self.owner)
                .await
                .unwrap();
        rows.sort();
        rows.iter().map(|(_, payload)| Envelope::decode(payload.as_bytes()).unwrap()).collect()
    }

    /// Hands all messages of the outbox to a worker, one after another; answers how many they were.
    pub(crate) async fn work(&self, worker: &Worker) -> usize {
        let messages = self.take_messages().await;
        let count = messages.len();
        for message in messages {
            worker.handle(delivery(message)).await;
        }
        count
    }

    /// A worker of this service without handlers.
    pub(crate) fn worker(&self, dispatcher: &Dispatcher) -> WorkerBuilder {
        Worker::builder(SERVICE, "worker-1", self.app.clone(), dispatcher.waker())
    }

    pub(crate) async fn effects(&self) -> Vec<String> {
        let notes = sqlx::query_scalar("select note from effect order by instant, note");
        notes.fetch_all(&self.owner).await.unwrap()
    }

    /// The messages that reached the topic.
    pub(crate) async fn published(&self) -> Vec<Envelope<TaskEvent>> {
        let records = self.stack.records(&self.namespace.topic("tasks")).await;
        records
            .iter()
            .map(|record| Envelope::decode(record.payload.as_deref().unwrap()).unwrap())
            .collect()
    }

    pub(crate) async fn waiting_messages(&self) -> i64 {
        self.count("select count(*) from outbox").await
    }

    /// A task whose schedule does nothing by itself, if it is hourly.
    pub(crate) async fn quiet_task(
        &self,
        schedules: &Schedules,
        id: &str,
        form: TaskForm,
    ) -> TaskId {
        let id = TaskId::parse(id).unwrap();
        schedules.put(&id, form, None, BY).await.unwrap();
        id
    }
}

/// Hourly, worked on for at most a minute, tried once. The next instant is half an hour away and the last one half an
/// hour ago, whatever the time: no test sees one come by itself.
pub(crate) fn hourly() -> TaskForm {
    const HOUR_MS: i64 = 3_600_000;
    static ANCHOR_MS: LazyLock<i64> =
        LazyLock::new(|| (Clock::system().now_ms() + HOUR_MS / 2) % HOUR_MS);
    let mut form = TaskForm::every(Duration::from_secs(3_600));
    form.schedule =
        ScheduleForm::Every { interval_ms: HOUR_MS.unsigned_abs(), anchor_ms: *ANCHOR_MS };
    form.retry.attempts_max = 1;
    form.retry.backoff_min_ms = 50;
    form.retry.backoff_max_ms = 200;
    form.deadline_ms = 60_000;
    form
}

/// The work of most tests: one row, in one commit with the occurrence's end.
pub(crate) async fn leave_a_note(run: TaskRun) -> Result<(), TaskError> {
    let mut transaction = run.begin().await?;
    insert_note(&mut transaction, &run, "done").await;
    run.finish(transaction).await?;
    Ok(())
}

pub(crate) async fn insert_note(conn: &mut PgConnection, run: &TaskRun, note: &str) {
    let insert = sqlx::query("insert into effect (task, instant, note) values ($1, $2, $3)");
    insert.bind(run.task()).bind(run.instant()).bind(note).execute(conn).await.unwrap();
}

/// A message as a consumer would hand it over, for a worker without a broker.
pub(crate) fn delivery(
    message: Envelope<TaskEvent>,
) -> millrace_messaging::Batch<Envelope<TaskEvent>> {
    vec![millrace_messaging::Delivery {
        message,
        context: MessageContext::default(),
        topic: TASKS,
        partition: 0,
        offset: 0,
        attempt: 1,
        epoch: None,
        span: tracing::Span::none(),
    }]
    .into()
}

#[derive(Debug, Deserialize)]
struct Sections {
    database: DatabaseSettings,
    outbox: RelaySettings,
    kafka: KafkaSettings,
    redis: RedisSettings,
    scheduler: SchedulerSettings,
}

impl Validate for Sections {
    fn validate(&self, problems: &mut Problems) {
        self.database.validate(problems);
        self.outbox.validate(problems);
        self.kafka.validate(problems);
        self.redis.validate(problems);
        self.scheduler.validate(problems);
    }
}

fn sections(section: &str, keys: &[(&str, &str)]) -> Sections {
    let mut environment: Vec<(String, String)> =
        ["NAME", "USER"].map(|key| (format!("T__DATABASE__{key}"), "unused".to_owned())).into();
    let key = |(key, value): &(&str, &str)| (format!("T__{section}__{key}"), (*value).to_owned());
    environment.extend(keys.iter().map(key));
    load(&Layers {
        defaults: vec![
            DATABASE_DEFAULTS,
            RELAY_DEFAULTS,
            millrace_messaging::DEFAULTS,
            millrace_coordination::DEFAULTS,
            millrace_scheduler::DEFAULTS,
        ],
        overlay: None,
        prefix: "T",
        environment,
    })
    .unwrap()
}

fn scheduler_settings(keys: &[(&str, &str)]) -> SchedulerSettings {
    sections("SCHEDULER", keys).scheduler
}
