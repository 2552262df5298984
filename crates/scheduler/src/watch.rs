//! Looks once a second whether the runs of this process should end: one query, however many they are.
//!
//! It only spares work. That a run which should have ended writes nothing is not the watch's promise but that of
//! [`crate::TaskRun::begin`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_runtime::CancellationToken;
use millrace_telemetry::error_chain;
use sqlx::PgPool;
use tokio::sync::Notify;

use crate::store::runs::{self, RunKey};

/// How often is looked.
const INTERVAL: Duration = Duration::from_secs(1);

/// The runs of a process. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    // A std mutex: it is held for a map's entry, never over an await.
    runs: Mutex<HashMap<RunKey, Signals>>,
    added: Notify,
}

/// How a run is told to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Signals {
    /// Somebody asked.
    pub(crate) asked: CancellationToken,
    /// It is over: what it still does is in vain.
    pub(crate) over: CancellationToken,
}

/// A run is watched as long as this lives.
#[derive(Debug)]
pub(crate) struct Watched {
    watch: Watch,
    key: RunKey,
    pub(crate) signals: Signals,
}

impl Watch {
    pub(crate) fn add(&self, key: RunKey) -> Watched {
        let signals = Signals::default();
        self.runs().insert(key.clone(), signals.clone());
        self.0.added.notify_one();
        Watched { watch: self.clone(), key, signals }
    }

    /// Looks until `stop`, and rests while there is nothing to look for.
    pub(crate) async fn run(&self, pool: PgPool, stop: CancellationToken) {
        loop {
            let keys: Vec<RunKey> = self.runs().keys().cloned().collect();
            if keys.is_empty() {
                if stop.run_until_cancelled(self.0.added.notified()).await.is_none() {
                    return;
                }
                continue;
            }
            if let Err(error) = self.look(&pool, &keys).await {
                tracing::warn!(
                    error = error_chain(&error),
                    "it is not known whether running tasks should end, the next look will tell"
                );
            }
            if stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
                return;
            }
        }
    }

    async fn look(&self, pool: &PgPool, keys: &[RunKey]) -> Result<(), sqlx::Error> {
        let mut conn = pool.acquire().await?;
        for seen in runs::to_end(&mut conn, keys).await? {
            let key = RunKey { task: seen.task, instant: seen.instant, run: seen.run };
            let Some(signals) = self.runs().get(&key).cloned() else { continue };
            signals.asked.cancel();
            if seen.over {
                signals.over.cancel();
            }
        }
        Ok(())
    }

    fn runs(&self) -> std::sync::MutexGuard<'_, HashMap<RunKey, Signals>> {
        self.0.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watch.runs().remove(&self.key);
    }
}
