//! The task that renews a kept lease.

use std::sync::Arc;
use std::time::Duration;

use millrace_runtime::CancellationToken;
use millrace_runtime::sabotage::{self, Switch};
use millrace_telemetry::error_chain;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::held::Held;
use crate::{Lease, metrics};

/// How a renewed lease came to its end.
enum End {
    /// The guard is done with it.
    Done,
    /// Nobody renewed it in time, or it is someone else's.
    Lost,
    /// It is still ours, but the work is stuck.
    Stuck,
}

pub(super) async fn run(
    mut lease: Lease,
    held: Arc<Held>,
    done: CancellationToken,
    progress_within: Duration,
) {
    let name = lease.name();
    match renew(&mut lease, &held, &done, progress_within).await {
        End::Done => lease.release_or_log().await,
        End::Lost => held.lose(),
        End::Stuck => {
            metrics::STUCK.with_label_values(&[name]).inc();
            tracing::warn!(
                lease = name,
                token = %lease.token(),
                "work under the lease showed no progress for {progress_within:?}, the lease is given up"
            );
            held.lose();
            // Work that doesn't reach an await point can't be cancelled: the lease is given back early only once
            // the guard is.
            tokio::select! {
                () = done.cancelled() => lease.release_or_log().await,
                () = sleep_until(lease.ends()) => {}
            }
        }
    }
}

async fn renew(
    lease: &mut Lease,
    held: &Held,
    done: &CancellationToken,
    progress_within: Duration,
) -> End {
    let name = lease.name();
    let margin = lease.ttl() / 10;
    let mut next = Instant::now() + lease.ttl() / 3;
    loop {
        let last_moment = lease.ends() - margin;
        let stuck_at = held.progressed() + progress_within;
        tokio::select! {
            // Who has finished gives the lease back, also when it stood still until a renewal was due, or past the end:
            // only its own lease can be given back.
            biased;
            () = done.cancelled() => return End::Done,
            () = sleep_until(next.min(last_moment).min(stuck_at)) => {}
        }
        if is_stuck(held, progress_within) {
            return End::Stuck;
        }
        if Instant::now() < next.min(last_moment) {
            continue;
        }
        match timeout_at(last_moment, lease.renew()).await {
            Ok(Ok(true)) => {
                next = Instant::now() + lease.ttl() / 3;
                continue;
            }
            Ok(Ok(false)) => {
                tracing::warn!(lease = name, token = %lease.token(), "the lease is someone else's");
                return End::Lost;
            }
            Ok(Err(error)) => {
                let error = error_chain(&error);
                tracing::warn!(lease = name, error, "the lease was not renewed");
            }
            Err(_) => tracing::warn!(lease = name, "the renewal of the lease got no answer"),
        }
        metrics::RENEW_FAILURES.with_label_values(&[name]).inc();
        if Instant::now() >= last_moment {
            return End::Lost;
        }
        next = Instant::now() + margin;
    }
}

fn is_stuck(held: &Held, progress_within: Duration) -> bool {
    if sabotage::on(Switch::LeaseRenewWithoutProgress) {
        // Looks like progress, so that the renewal doesn't spin.
        held.progress();
    }
    held.progressed().elapsed() >= progress_within
}
