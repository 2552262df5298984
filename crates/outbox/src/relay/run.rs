//! The relay's life: from session to session, through every outage, until it is told to stop.

use std::time::Instant;

use millrace_resilience::Backoff;
use millrace_runtime::CancellationToken;
use millrace_telemetry::error_chain;
use tokio::time::sleep;

use super::work::{Tally, Work};
use super::{Relay, RelayError};

/// Waits before another attempt at the database, or at a broker that accepted nothing.
pub(super) const AWAY: Backoff = Backoff {
    initial: std::time::Duration::from_millis(100),
    max: std::time::Duration::from_secs(2),
    factor: 2.0,
    jitter: 0.5,
};

impl Relay {
    /// Relays until `stop`, through any outage of database and broker. On `stop` it sends nothing more and waits
    /// a few seconds for what is on its way.
    pub async fn run(self, stop: CancellationToken) {
        let working = async {
            let mut failures: u32 = 0;
            while !stop.is_cancelled() {
                let ended = self.work(&stop, &mut failures).await;
                self.health.connected(false);
                let Err(error) = ended else { return };
                failures = failures.saturating_add(1);
                tracing::warn!(error = %error_chain(&error), failures, "the relay starts over");
                stop.run_until_cancelled(sleep(AWAY.wait(failures))).await;
            }
        };
        tokio::select! {
            () = working => {}
            () = self.listen() => {}
        }
    }

    /// Publishes everything that is committed in the buckets nobody else holds, once; returns how many rows. A row
    /// that fails is left with the rest of its aggregate.
    ///
    /// # Errors
    /// When the database can't be reached, or when there were rows and the broker accepted none or said nothing.
    pub async fn relay_once(&self) -> Result<usize, RelayError> {
        let mut work = Work::open(self).await?;
        let mut total = Tally::default();
        let never = CancellationToken::new();
        let mut answered = Instant::now();
        loop {
            let pass = work.pass(&never).await?;
            if pass.acknowledged + pass.failed > 0 {
                answered = Instant::now();
            }
            let idle = pass.read == 0 && pass.acknowledged == 0 && pass.failed == 0;
            total.add(pass);
            if idle && work.is_idle() || work.paused() {
                break;
            }
            if answered.elapsed() > self.kafka.publish_timeout {
                return Err(RelayError::Unanswered { rows: work.on_their_way() });
            }
        }
        work.finish().await?;
        match total.first_error {
            Some(source) if total.acknowledged == 0 => {
                Err(RelayError::Broker { rows: total.failed, source })
            }
            _ => Ok(total.acknowledged),
        }
    }

    async fn work(&self, stop: &CancellationToken, failures: &mut u32) -> Result<(), RelayError> {
        let mut work = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            opened = Work::open(self) => opened?,
        };
        self.health.connected(true);
        while !stop.is_cancelled() {
            let pass = work.pass(stop).await?;
            *failures = 0;
            work.measure_when_due().await?;
            work.wait(&pass, stop).await?;
        }
        work.finish().await
    }
}
