//! The parts of one service while they are put together.
//!
//! `startup.rs` of a service asks for what it needs, in any order; each part registers its own health component,
//! names its tasks and takes its place in the stop. Nothing is bound and no connection is waited for before
//! [`Chassis::serve`]: a service starts while PostgreSQL, Kafka or Redis are away, and says so.

use std::sync::Arc;

use actix_web::web::ServiceConfig;
use millrace_coordination::{Leases, Redis, RedisSettings};
use millrace_http::{AuthSettings, Health, HttpSettings, Server, ServerParts, Verifier};
use millrace_messaging::{
    Consumer, ConsumerHandle, DeadLetterStore, Handler, KafkaSettings, Producer, ProducerProfile,
};
use millrace_outbox::{DatabaseSettings, DeadLetters, Relay, RelaySettings, RelayWaker};
use millrace_request_log::{RequestLogSettings, request_log};
use millrace_runtime::{CancellationToken, Clock, Shutdown, Tasks};
use millrace_scheduler::{ChangeJournal, Schedules};
use sqlx::PgPool;
use utoipa::openapi::OpenApi;
use uuid::Uuid;

use crate::application::{Application, Parts};
use crate::service_tasks::{self, Around, SchedulerStores, ServiceTasks};
use crate::{ServiceSettings, ShutdownSettings};
use crate::{admin, health};

/// Why a service could not be put together.
#[derive(Debug, thiserror::Error)]
#[error("could not set up {part}")]
pub struct StartError {
    part: &'static str,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl StartError {
    /// The part that failed and why.
    pub fn new(
        part: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { part, source: source.into() }
    }
}

/// A service in the making.
pub struct Chassis {
    service: &'static str,
    clock: Clock,
    tasks: Tasks,
    shutdown: Shutdown,
    http: HttpSettings,
    stop: ShutdownSettings,
    health: Health,
    verifier: Option<Verifier>,
    request_log: Option<Arc<dyn millrace_http::RequestLog>>,
    openapi: Option<OpenApi>,
    consumers: Vec<ConsumerHandle>,
    leases: Option<Leases>,
    schedules: Option<Schedules>,
    pools: Vec<PgPool>,
}

impl Chassis {
    /// An empty chassis for the service whose settings these are.
    #[must_use]
    pub fn new<S: ServiceSettings>(settings: &S) -> Self {
        let (base, shutdown) = (settings.base(), Shutdown::new());
        Self {
            service: S::SERVICE,
            clock: Clock::system(),
            tasks: Tasks::new(),
            health: Health::new(shutdown.clone(), base.http.health_timeout),
            shutdown,
            http: base.http.clone(),
            stop: base.shutdown.clone(),
            verifier: None,
            request_log: None,
            openapi: None,
            consumers: Vec::new(),
            leases: None,
            schedules: None,
            pools: Vec::new(),
        }
    }

    /// The service's clock.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// The service's tasks, for parts that name their own.
    #[must_use]
    pub fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }

    /// The service's health, for components of its own.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// The token that ends when consumers, the scheduler and the relay shall finish.
    #[must_use]
    pub fn workers_stop(&self) -> CancellationToken {
        self.shutdown.workers()
    }

    /// The service's database: a lazy pool, needed for readiness, closed last.
    ///
    /// # Errors
    /// When the settings can't be turned into a connection (an unreadable password file, say).
    pub fn database(&mut self, settings: &DatabaseSettings) -> Result<PgPool, StartError> {
        let pool = millrace_outbox::connect(settings, self.service)
            .map_err(|cause| StartError::new("the database pool", cause))?;
        health::require_database(&self.health, &pool);
        self.pools.push(pool.clone());
        Ok(pool)
    }

    /// Starts the relay of `pool`'s outbox. Wake it after each commit that appended.
    pub fn relay(
        &mut self,
        pool: &PgPool,
        kafka: &KafkaSettings,
        settings: &RelaySettings,
    ) -> RelayWaker {
        let relay = Relay::new(pool, kafka, settings.clone(), self.service);
        let waker = relay.waker();
        health::register_relay(&self.health, relay.health());
        let stop = self.shutdown.workers();
        self.tasks.spawn("outbox-relay", relay.run(stop));
        waker
    }

    /// Where consumers of this database keep their dead letters: with the inbox, published by the relay.
    #[must_use]
    pub fn dead_letters(&self, pool: &PgPool, relay: &RelayWaker) -> Arc<dyn DeadLetterStore> {
        Arc::new(DeadLetters::new(pool.clone()).waking(relay.clone()))
    }

    /// Starts a consumer.
    ///
    /// # Errors
    /// When the client refuses its settings.
    pub fn consume<H: Handler>(
        &mut self,
        kafka: &KafkaSettings,
        consumer: Consumer<H>,
    ) -> Result<(), StartError> {
        let handle = consumer
            .start(kafka, &self.tasks, self.shutdown.workers())
            .map_err(|cause| StartError::new("a consumer", cause))?;
        self.consumers.push(handle);
        Ok(())
    }

    /// The service's Redis, which requests can do without.
    ///
    /// # Errors
    /// When the settings can't be turned into a pool.
    pub fn redis(&mut self, settings: &RedisSettings) -> Result<Redis, StartError> {
        let redis =
            Redis::connect(settings).map_err(|cause| StartError::new("the Redis pool", cause))?;
        health::register_redis(&self.health, &redis);
        Ok(redis)
    }

    /// The service's leases, whose sinks are in `pool`'s database. One holder a process: call it once.
    pub fn leases(&mut self, redis: &Redis, pool: &PgPool) -> Leases {
        // Two processes with one name would pass each other's fence.
        let holder = format!("{}-{}", self.service, Uuid::now_v7());
        let leases = Leases::new(redis.clone(), pool.clone(), holder);
        self.leases = Some(leases.clone());
        leases
    }

    /// Starts the service's scheduler with the tasks that this release declares, and `upkeep` beside them; each change
    /// of one is told to `journal`. Operators see and change them at `/schedules`, which [`Chassis::serve`] adds to the
    /// service's routes and to its description.
    ///
    /// # Errors
    /// When a task makes no sense, or the consumer's client refuses its settings.
    pub fn scheduler(
        &mut self,
        stores: SchedulerStores<'_>,
        tasks: ServiceTasks,
        journal: Arc<dyn ChangeJournal>,
    ) -> Result<(), StartError> {
        let leases = self.leases.clone();
        let leases = leases.unwrap_or_else(|| self.leases(stores.redis, stores.pool));
        let around = Around {
            service: self.service,
            tasks: self.tasks.clone(),
            health: self.health.clone(),
            stop: self.shutdown.workers(),
            leases,
            dead_letters: self.dead_letters(stores.pool, stores.relay),
            journal,
        };
        let (consumer, schedules) = service_tasks::start(around, stores, tasks)?;
        self.schedules = Some(schedules);
        self.consume(stores.kafka, consumer)
    }

    /// Tokens of callers, checked by the settings' keys; without this, no route can ask for a caller.
    ///
    /// # Errors
    /// When the keys can't be read.
    pub fn verifier(&mut self, settings: &AuthSettings) -> Result<(), StartError> {
        let verifier = Verifier::from_settings(settings)
            .map_err(|cause| StartError::new("the token verifier", cause))?;
        self.verifier = Some(verifier);
        Ok(())
    }

    /// Sends a line for each request to `request-logs`.
    ///
    /// # Errors
    /// When the client refuses its settings.
    pub fn request_log(
        &mut self,
        kafka: &KafkaSettings,
        settings: &RequestLogSettings,
    ) -> Result<(), StartError> {
        let producer = Producer::new(kafka, ProducerProfile::Bulk)
            .map_err(|cause| StartError::new("the request log's producer", cause))?;
        let (queue, shipper) = request_log(settings, &producer)
            .map_err(|cause| StartError::new("the request log's queue", cause))?;
        self.tasks.spawn("request-log", shipper.run(self.shutdown.workers()));
        self.request_log = Some(Arc::new(queue));
        Ok(())
    }

    /// The API's description, shown at `/openapi.json` and `/docs/`.
    pub fn openapi(&mut self, document: OpenApi) {
        self.openapi = Some(document);
    }

    /// Binds the ports and starts to answer with `routes`.
    ///
    /// # Errors
    /// When a port can't be bound.
    pub async fn serve<R>(self, routes: R) -> Result<Application, StartError>
    where
        R: Fn(&mut ServiceConfig) + Clone + Send + Sync + 'static,
    {
        health::register_consumers(&self.health, self.consumers.clone());
        health::register_tasks(&self.health, self.tasks.clone());
        let schedules = self.schedules.clone();
        let openapi = self.openapi.map(|mut document| {
            if schedules.is_some() {
                document.merge(crate::schedules::document());
            }
            document
        });
        let routes = move |config: &mut ServiceConfig| {
            if let Some(schedules) = &schedules {
                crate::schedules::routes(config, schedules.clone());
            }
            routes(config);
        };
        let parts = ServerParts {
            health: self.health,
            verifier: self.verifier,
            request_log: self.request_log,
            openapi,
            admin: Some(admin::routes(self.consumers, self.leases)),
            clock: self.clock,
        };
        let server = Server::bind(self.service, &self.http, parts, routes)
            .map_err(|cause| StartError::new("the HTTP ports", cause))?
            .start();
        tracing::info!(port = server.port(), admin_port = server.admin_port(), "listening");
        Ok(Application::new(Parts {
            server,
            tasks: self.tasks,
            shutdown: self.shutdown,
            stop: self.stop,
            pools: self.pools,
            schedules: self.schedules,
        }))
    }
}
