//! Wake-ups between processes: a process that appends without a relay of its own, or an operator's command, calls
//! the relays of the others.
//!
//! `NOTIFY` inside a business transaction takes a lock of the whole instance over its commit: a quarter of the
//! throughput at 32 clients. So a commit only raises a flag in memory, and a connection of the notifier's own sends at
//! most one notification per 20 ms for all of them. One that is lost costs a poll interval and nothing else.

use std::sync::Arc;
use std::time::Duration;

use millrace_resilience::Backoff;
use millrace_runtime::CancellationToken;
use millrace_telemetry::error_chain;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgConnection, PgPool};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::{Relay, RelayWaker};

/// What relays of one database listen to.
pub(crate) const WAKE_CHANNEL: &str = "millrace_outbox";

/// Commits within this are one notification.
const DEBOUNCE: Duration = Duration::from_millis(20);

const AWAY: Backoff = Backoff {
    initial: Duration::from_millis(100),
    max: Duration::from_secs(2),
    factor: 2.0,
    jitter: 0.5,
};

/// Wakes the relays of other processes after commits of this one. A process that runs a relay on its database
/// doesn't need it: its own relay takes its rows.
#[derive(Debug)]
pub struct RelayNotifier {
    options: PgConnectOptions,
    wake: Arc<Notify>,
}

impl RelayNotifier {
    /// For the database of `pool`, over a connection of its own that is opened when there is something to say.
    #[must_use]
    pub fn new(pool: &PgPool, service: &str) -> Self {
        let options = pool.connect_options().as_ref().clone();
        let options = options.application_name(&format!("{service}-notifier"));
        Self { options, wake: Arc::default() }
    }

    /// The handle to call after commit.
    #[must_use]
    pub fn waker(&self) -> RelayWaker {
        RelayWaker(Arc::clone(&self.wake))
    }

    /// Notifies until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut conn: Option<PgConnection> = None;
        let mut failures = 0;
        while stop.run_until_cancelled(self.wake.notified()).await.is_some() {
            let told = match conn.take() {
                Some(open) => tell(open).await,
                None => match self.options.connect().await {
                    Ok(open) => tell(open).await,
                    Err(error) => Err(error),
                },
            };
            let rest = match told {
                Ok(open) => {
                    conn = Some(open);
                    failures = 0;
                    DEBOUNCE
                }
                Err(error) => {
                    failures += 1;
                    tracing::debug!(error = error_chain(&error), "relays were not notified");
                    self.wake.notify_one();
                    AWAY.wait(failures)
                }
            };
            stop.run_until_cancelled(sleep(rest)).await;
        }
    }
}

async fn tell(mut conn: PgConnection) -> Result<PgConnection, sqlx::Error> {
    sqlx::query("select pg_notify($1, '')").bind(WAKE_CHANNEL).execute(&mut conn).await?;
    Ok(conn)
}

impl Relay {
    /// Turns notifications into wake-ups, for ever. While the connection is away the poll does its work.
    pub(super) async fn listen(&self) {
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(self.options.clone());
        let mut failures = 0;
        loop {
            let Err(error) = self.hear(&pool, &mut failures).await;
            failures += 1;
            tracing::debug!(error = error_chain(&error), "the relay hears no notifications");
            sleep(AWAY.wait(failures)).await;
        }
    }

    async fn hear(
        &self,
        pool: &PgPool,
        failures: &mut u32,
    ) -> Result<std::convert::Infallible, sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(WAKE_CHANNEL).await?;
        *failures = 0;
        loop {
            // `None` is a connection that broke: what was notified meanwhile is lost, so look.
            listener.try_recv().await?;
            self.wake.notify_one();
        }
    }
}
