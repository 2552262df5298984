//! A running service and its stop.

use std::time::{Duration, Instant};

use millrace_http::RunningServer;
use millrace_runtime::{Shutdown, Tasks};
use millrace_scheduler::Schedules;
use sqlx::PgPool;

use crate::ShutdownSettings;

/// No phase gets less than this, however much of the budget earlier ones used.
const PHASE_MIN: Duration = Duration::from_secs(1);

/// What a running service consists of, in the order in which it is stopped.
pub(crate) struct Parts {
    pub(crate) server: RunningServer,
    pub(crate) tasks: Tasks,
    pub(crate) shutdown: Shutdown,
    pub(crate) stop: ShutdownSettings,
    pub(crate) pools: Vec<PgPool>,
    pub(crate) schedules: Option<Schedules>,
}

/// A running service.
pub struct Application(Parts);

impl Application {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(parts)
    }

    /// The port that requests come in on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.server.port()
    }

    /// The port with probes, health and metrics.
    #[must_use]
    pub fn admin_port(&self) -> u16 {
        self.0.server.admin_port()
    }

    /// The service's scheduled tasks, for who drives them in this process instead of waiting for their time.
    #[must_use]
    pub fn schedules(&self) -> Option<&Schedules> {
        self.0.schedules.as_ref()
    }

    /// Ends when a port stopped answering by itself, which a service can't survive.
    pub async fn failed(&self) {
        self.0.server.ended().await;
    }

    /// Stops in phases, each logged with its seconds. True when everything finished within its time.
    pub async fn stop(self) -> bool {
        let Parts { server, tasks, shutdown, stop, pools, schedules: _ } = self.0;
        shutdown.request();
        // The budget starts when the drain delay is over.
        let ends = Instant::now() + stop.drain_delay + stop.budget;
        let left = || ends.saturating_duration_since(Instant::now()).max(PHASE_MIN);
        let requests = phase("requests", server.drain(stop.drain_delay, stop.budget)).await;
        shutdown.stop_workers();
        let workers = phase("consumers, scheduler and relay", async {
            let unfinished = tasks.wait(left()).await;
            if !unfinished.is_empty() {
                tracing::warn!(tasks = unfinished.join(", "), "still running, left behind");
            }
            unfinished.is_empty()
        })
        .await;
        phase("pools", async {
            for pool in &pools {
                // A connection that hangs must not hold up the exit; the server ends it with the process.
                if tokio::time::timeout(PHASE_MIN, pool.close()).await.is_err() {
                    return false;
                }
            }
            true
        })
        .await;
        server.close().await;
        requests && workers
    }
}

async fn phase(name: &'static str, work: impl Future<Output = bool>) -> bool {
    let started = Instant::now();
    let finished = work.await;
    let seconds = started.elapsed().as_secs_f64();
    tracing::info!(phase = name, seconds, finished, "stop phase over");
    finished
}
