//! The scheduled tasks of a service: what it declares, and everything that works them off.
//!
//! One call starts all of it: the dispatcher, which takes its turns with those of the other instances under a lease; the
//! worker, an ordinary consumer of `tasks`; the watch over its runs; and the declaration of the tasks, which is
//! repeated until the database is there. Each service also gets the task `upkeep`, which forgets what the chassis itself
//! has kept long enough: handled messages, replies and ended occurrences.

use std::sync::Arc;
use std::time::Duration;

use millrace_coordination::{Leases, Redis};
use millrace_envelope::{ConsumerGroup, Event as _};
use millrace_http::Health;
use millrace_messaging::{Consumer, DeadLetterStore, KafkaSettings};
use millrace_outbox::RelayWaker;
use millrace_resilience::{Class, Classify as _};
use millrace_runtime::{CancellationToken, Tasks};
use millrace_scheduler::schedules::Declared;
use millrace_scheduler::{
    ChangeJournal, Dispatcher, DispatcherParts, SchedulerSettings, Schedules, TaskError, TaskEvent,
    TaskForm, TaskHandler, TaskId, TaskRun, TaskSpec, Worker, WorkerBuilder,
};
use millrace_telemetry::error_chain;
use sqlx::PgPool;

use crate::{StartError, health};

/// Tasks that one instance works on at once, each with a connection of the pool now and then.
pub const TASKS_AT_ONCE: usize = 2;

/// The name of the task that every service has.
pub const UPKEEP: &str = "upkeep";

/// What is forgotten has been kept for a day at least; an hour more is nothing.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(60 * 60);
const DECLARE_RETRY: Duration = Duration::from_secs(1);

type Give = Box<dyn FnOnce(WorkerBuilder) -> WorkerBuilder + Send>;

/// The tasks that a release of a service brings with it.
pub struct ServiceTasks {
    group: ConsumerGroup,
    forms: Vec<(&'static str, TaskForm)>,
    handlers: Vec<Give>,
}

impl std::fmt::Debug for ServiceTasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.forms.iter().map(|(name, _)| *name).collect();
        f.debug_struct("ServiceTasks").field("group", &self.group).field("tasks", &names).finish()
    }
}

impl ServiceTasks {
    /// None yet but `upkeep`. `group` is the service's own among the consumers of `tasks`.
    #[must_use]
    pub fn new(group: ConsumerGroup) -> Self {
        Self { group, forms: Vec::new(), handlers: Vec::new() }
    }

    /// One more: when it is due and how it is treated, and who does its work.
    #[must_use]
    pub fn task(mut self, name: &'static str, form: TaskForm, handler: impl TaskHandler) -> Self {
        self.forms.push((name, form));
        self.handlers.push(Box::new(move |worker| worker.task(name, handler)));
        self
    }

    /// What is declared, if all of it makes sense.
    fn declared(&self) -> Result<Vec<Declared>, StartError> {
        let declare = |(name, form): &(&'static str, TaskForm)| {
            let id = TaskId::parse(name).map_err(|cause| StartError::new("a task", cause))?;
            TaskSpec::try_from_form(form.clone())
                .map_err(|cause| StartError::new("a task", cause))?;
            Ok(Declared { id, form: form.clone() })
        };
        self.forms.iter().map(declare).collect()
    }
}

/// What the scheduler of a service stands on.
#[derive(Debug, Clone, Copy)]
pub struct SchedulerStores<'a> {
    /// The service's database, with the tables of the outbox, the fence and the scheduler.
    pub pool: &'a PgPool,
    /// For the dispatcher's lease.
    pub redis: &'a Redis,
    /// The relay of the database's outbox.
    pub relay: &'a RelayWaker,
    /// For the consumer of `tasks`.
    pub kafka: &'a KafkaSettings,
    /// The section `[scheduler]`.
    pub settings: &'a SchedulerSettings,
}

/// What the chassis has of it.
pub(crate) struct Around {
    pub(crate) service: &'static str,
    pub(crate) tasks: Tasks,
    pub(crate) health: Health,
    pub(crate) stop: CancellationToken,
    pub(crate) leases: Leases,
    pub(crate) dead_letters: Arc<dyn DeadLetterStore>,
    pub(crate) journal: Arc<dyn ChangeJournal>,
}

/// Starts everything but the consumer, which the chassis starts like any other.
pub(crate) fn start(
    around: Around,
    stores: SchedulerStores<'_>,
    tasks: ServiceTasks,
) -> Result<(Consumer<Worker>, Schedules), StartError> {
    let Around { service, stop, leases, dead_letters, journal, .. } = around;
    let SchedulerStores { pool, relay, settings, .. } = stores;
    let tasks = with_upkeep(tasks, pool, settings);
    let declared = tasks.declared()?;
    let name = leases.holder().to_owned();
    let dispatcher = Dispatcher::new(DispatcherParts {
        service: service.to_owned(),
        pool: pool.clone(),
        leases,
        tasks: around.tasks.clone(),
        relay: relay.clone(),
        settings: settings.clone(),
    });
    health::register_scheduler(&around.health, dispatcher.health());
    let waker = dispatcher.waker();
    let schedules = Schedules::new(pool.clone(), waker.clone(), relay.clone(), journal);
    let worker = Worker::builder(service, name, pool.clone(), waker);
    let worker = tasks.handlers.into_iter().fold(worker, |worker, give| give(worker)).build();
    let spawn = &around.tasks;
    spawn.spawn("task-dispatcher", dispatcher.run(stop.clone()));
    spawn.spawn("task-watch", worker.clone().watch(stop.clone()));
    spawn.spawn("task-declaration", declare(schedules.clone(), declared, stop));
    let consumer = Consumer::new(tasks.group, TaskEvent::TOPIC, worker)
        .concurrency(TASKS_AT_ONCE)
        .dead_letters(dead_letters);
    Ok((consumer, schedules))
}

fn with_upkeep(tasks: ServiceTasks, pool: &PgPool, settings: &SchedulerSettings) -> ServiceTasks {
    let (pool, retention) = (pool.clone(), settings.history_retention);
    tasks.task(UPKEEP, TaskForm::every(UPKEEP_INTERVAL), move |_: TaskRun| {
        let pool = pool.clone();
        // Deleting what is old is right however often it is done, so it needs no proof of the run.
        async move {
            millrace_outbox::upkeep::clean(&pool).await?;
            let occurrences = millrace_scheduler::upkeep::clean(&pool, retention).await?;
            tracing::debug!(occurrences, "what is old is forgotten");
            Ok::<(), TaskError>(())
        }
    })
}

/// Tries until it is done: a service starts while its database is away.
async fn declare(schedules: Schedules, declared: Vec<Declared>, stop: CancellationToken) {
    let mut said = false;
    loop {
        let error = match stop.run_until_cancelled(schedules.declare(&declared)).await {
            None => return,
            Some(Ok(())) => {
                tracing::info!(tasks = declared.len(), "the scheduled tasks are declared");
                return;
            }
            Some(Err(error)) => error,
        };
        if !std::mem::replace(&mut said, true) {
            let (class, error) = (error.class(), error_chain(&error));
            match class {
                Class::Transient => {
                    tracing::warn!(error, "the scheduled tasks are not declared yet");
                }
                Class::Permanent => tracing::error!(error, "the scheduled tasks can't be declared"),
            }
        }
        if stop.run_until_cancelled(tokio::time::sleep(DECLARE_RETRY)).await.is_none() {
            return;
        }
    }
}
