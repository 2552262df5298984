//! The account of one record that keeps failing.

use std::time::Duration;

use millrace_runtime::Clock;
use tokio::time::Instant;
use tracing::Span;

use super::Worker;
use crate::consumer::failure::Failure;
use crate::consumer::identity::Identity;
use crate::consumer::record::Record;
use crate::{Handler, codes};

/// A record that keeps failing is logged at its first failure and then this often.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How often a record has failed, since when, and when that was last told.
pub(super) struct Retry {
    pub(super) failures: u32,
    pub(super) first_failure_ms: i64,
    logged: Option<Instant>,
}

impl Retry {
    pub(super) fn new() -> Self {
        Self { failures: 0, first_failure_ms: 0, logged: None }
    }

    pub(super) fn failed(&mut self) {
        if self.failures == 0 {
            self.first_failure_ms = Clock::system().now_ms();
        }
        self.failures = self.failures.saturating_add(1);
    }

    pub(super) fn log<H: Handler>(
        &mut self,
        worker: &Worker<H>,
        record: &Record,
        span: &Span,
        failure: &Failure,
    ) {
        if self.logged.is_some_and(|at| at.elapsed() < LOG_INTERVAL) {
            return;
        }
        self.logged = Some(Instant::now());
        let Identity { group, topic, .. } = &*worker.identity;
        let (partition, offset, attempts) = (record.partition, record.offset, self.failures);
        let (code, reason) = (failure.code.code, failure.chain.as_str());
        if failure.code == &codes::HANDLER_PANICKED {
            tracing::error!(parent: span, group, topic, partition, offset, code, attempts, reason,
                "handler panicked on a record; its partition waits and tries again");
        } else {
            tracing::warn!(parent: span, group, topic, partition, offset, code, attempts, reason,
                "record failed for now; its partition waits and tries again");
        }
    }

    pub(super) fn recovered<H: Handler>(&self, worker: &Worker<H>, record: &Record, span: &Span) {
        if self.failures > 0 {
            let Identity { group, topic, .. } = &*worker.identity;
            let (partition, offset, attempts) =
                (record.partition, record.offset, self.failures + 1);
            tracing::info!(parent: span, group, topic, partition, offset, attempts,
                "record was handled after all");
        }
    }
}
