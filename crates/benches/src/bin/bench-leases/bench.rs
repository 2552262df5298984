//! What the sections share: servers, the order of the sides, telemetry as the services have it.

use std::future::Future;

use anyhow::{Context, Result};
use millrace_benches::rounds::Rounds;
use millrace_common::coordination::{self, Leases, Redis};
use millrace_common::runtime::Tasks;
use millrace_common::telemetry::{self, TelemetryGuard};
use millrace_testkit::{Stack, TestDatabase};
use sqlx::PgPool;
use tokio::sync::oneshot;

use crate::settings::Settings;

/// The bench on servers of its own.
pub(crate) struct Bench {
    pub(crate) stack: Stack,
    pub(crate) rounds: Rounds,
    pub(crate) tasks: Tasks,
    /// Spans are made, as in a service; they go nowhere.
    _telemetry: TelemetryGuard,
}

/// What leases of one section stand on: a database for the incarnations, and keys of their own.
pub(crate) struct LeaseGround {
    pub(crate) settings: Settings,
    pool: PgPool,
    _database: TestDatabase,
}

impl Bench {
    /// Starts the servers. PostgreSQL syncs its log to the disk, as in production.
    pub(crate) async fn start(seed: u64, rounds: usize) -> Result<Self> {
        let stack = Stack::durable().await?;
        let settings = Settings::on(&stack, &stack.namespace())?;
        Ok(Self {
            rounds: Rounds::new(seed, rounds),
            tasks: Tasks::new(),
            _telemetry: telemetry::init("bench", &settings.telemetry)?,
            stack,
        })
    }

    pub(crate) async fn lease_ground(&self) -> Result<LeaseGround> {
        let settings = Settings::on(&self.stack, &self.stack.namespace())?;
        let database = self.stack.database("bench", &[&coordination::MIGRATIONS]).await;
        Ok(LeaseGround { settings, pool: database.app_pool(), _database: database })
    }

    /// Runs it as a task of the runtime, as services run theirs. The future that `main` waits for has a thread of its
    /// own, and would pay for waking that thread up at each answer.
    pub(crate) async fn as_task<T: Send + 'static>(
        &self,
        name: &str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let (ended, result) = oneshot::channel();
        self.tasks.spawn(name, async move {
            // The receiver waits below; nobody is left to tell when it is gone.
            ended.send(work.await).ok();
        });
        result.await.with_context(|| format!("`{name}` came to no end"))
    }
}

impl LeaseGround {
    /// Leases with connections and a subscription of their own, as a process has them.
    pub(crate) fn leases(&self, holder: &str) -> Result<Leases> {
        let redis = Redis::connect(&self.settings.redis)?;
        Ok(Leases::new(redis, self.pool.clone(), holder))
    }

    /// A key of this section.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.settings.redis.key_prefix)
    }
}
