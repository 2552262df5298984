//! How the service is: three questions, three answers.
//!
//! `/livez` asks whether a restart would help, `/readyz` whether requests can be taken, `/actuator/health` for
//! everything. They are kept apart because mixing them turns a broker's outage into a restart loop.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use millrace_runtime::Shutdown;
use serde::Serialize;
use serde_json::{Map, Value};

/// How a part of the service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// It works.
    Up,
    /// It doesn't.
    Down,
    /// Nobody can say yet.
    Unknown,
}

/// The answer of one check.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Component {
    /// How it is.
    pub status: Status,
    /// Figures, for a human; names are lowerCamelCase as the field has them (`lastPollMs`).
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

impl Component {
    /// It works.
    #[must_use]
    pub fn up() -> Self {
        Self { status: Status::Up, details: Map::new() }
    }

    /// It doesn't, because.
    #[must_use]
    pub fn down(reason: impl fmt::Display) -> Self {
        Self { status: Status::Down, details: Map::new() }.with("reason", reason.to_string())
    }

    /// Nobody can say, because.
    #[must_use]
    pub fn unknown(reason: impl fmt::Display) -> Self {
        Self { status: Status::Unknown, details: Map::new() }.with("reason", reason.to_string())
    }

    /// Adds a figure.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}

/// Everything about the service's health.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) status: Status,
    pub(crate) components: std::collections::BTreeMap<String, Component>,
}

type Check = Arc<dyn Fn() -> BoxFuture<'static, Component> + Send + Sync>;
type LiveCheck = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

#[derive(Clone)]
struct Registered {
    name: String,
    needed_for_requests: bool,
    check: Check,
}

/// The service's checks. Cloning shares them.
#[derive(Clone)]
pub struct Health {
    shutdown: Shutdown,
    timeout: Duration,
    // Std locks: held to copy a short list, never over an await.
    checks: Arc<RwLock<Vec<Registered>>>,
    live: Arc<RwLock<Vec<LiveCheck>>>,
}

impl Health {
    /// No checks yet; readiness ends when `shutdown` begins. A check that takes longer than `timeout` is DOWN.
    #[must_use]
    pub fn new(shutdown: Shutdown, timeout: Duration) -> Self {
        Self { shutdown, timeout, checks: Arc::default(), live: Arc::default() }
    }

    /// Adds a component to `/actuator/health` only: Kafka, Redis, whatever requests can do without.
    pub fn register<F, Fut>(&self, name: &str, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Component> + Send + 'static,
    {
        self.add(name, false, check);
    }

    /// Adds a component that requests can't do without: it also decides `/readyz`.
    pub fn require<F, Fut>(&self, name: &str, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Component> + Send + 'static,
    {
        self.add(name, true, check);
    }

    /// Adds a reason to be restarted: `Err` says why.
    pub fn liveness(&self, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.live.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(check));
    }

    /// Why a restart would help, if it would.
    ///
    /// # Errors
    /// The first check's reason.
    pub fn live(&self) -> Result<(), String> {
        let checks = self.live.read().unwrap_or_else(PoisonError::into_inner).clone();
        checks.iter().try_for_each(|check| check())
    }

    /// A stop was asked for.
    pub(crate) fn stopping(&self) -> bool {
        self.shutdown.stopping()
    }

    /// Why requests can't be taken, if they can't.
    ///
    /// # Errors
    /// The names of the components that are missing, or that the service is stopping.
    pub async fn ready(&self) -> Result<(), String> {
        if self.stopping() {
            return Err("stopping".to_owned());
        }
        let failed: Vec<String> = self
            .run(|registered| registered.needed_for_requests)
            .await
            .into_iter()
            .filter(|(_, component)| component.status != Status::Up)
            .map(|(name, _)| name)
            .collect();
        if failed.is_empty() { Ok(()) } else { Err(failed.join(", ")) }
    }

    /// Every component. One that is DOWN makes the whole DOWN; else one UNKNOWN makes it UNKNOWN.
    pub(crate) async fn report(&self) -> Report {
        let components: std::collections::BTreeMap<_, _> =
            self.run(|_| true).await.into_iter().collect();
        let any =
            |status| components.values().any(|component: &Component| component.status == status);
        let status = if any(Status::Down) {
            Status::Down
        } else if any(Status::Unknown) {
            Status::Unknown
        } else {
            Status::Up
        };
        Report { status, components }
    }

    fn add<F, Fut>(&self, name: &str, needed_for_requests: bool, check: F)
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Component> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        let registered = Registered { name: name.to_owned(), needed_for_requests, check };
        self.checks.write().unwrap_or_else(PoisonError::into_inner).push(registered);
    }

    /// All wanted checks at once, each within the time-out.
    async fn run(&self, wanted: impl Fn(&Registered) -> bool) -> Vec<(String, Component)> {
        let checks: Vec<Registered> = {
            let checks = self.checks.read().unwrap_or_else(PoisonError::into_inner);
            checks.iter().filter(|registered| wanted(registered)).cloned().collect()
        };
        join_all(checks.into_iter().map(|registered| async move {
            let answer = tokio::time::timeout(self.timeout, (registered.check)()).await;
            (registered.name, answer.unwrap_or_else(|_| Component::down("no answer in time")))
        }))
        .await
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("shutdown", &self.shutdown).finish_non_exhaustive()
    }
}
