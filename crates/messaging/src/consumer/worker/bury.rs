//! The way out for records that can't be handled.

use futures::future::join_all;
use millrace_runtime::Clock;
use tracing::Span;

use super::{Dead, Ended, Worker};
use crate::consumer::dead_letter::{Detail, Verdict, letter};
use crate::consumer::failure::Failure;
use crate::consumer::identity::Identity;
use crate::consumer::progress::Phase;
use crate::consumer::record::Record;
use crate::producer::PublishError;
use crate::{Handler, metrics};

impl<H: Handler> Worker<H> {
    pub(super) async fn settle_dead(&self, dead: Vec<Dead>) -> Result<(), Ended> {
        if dead.is_empty() {
            return Ok(());
        }
        self.go_on()?;
        self.progress.enter(Phase::Handling);
        let now_ms = Clock::system().now_ms();
        let burials = dead
            .iter()
            .map(|Dead { record, failure, span }| self.bury(record, failure, span, 0, now_ms));
        join_all(burials).await.into_iter().collect::<Result<(), Ended>>()?;
        for Dead { record, .. } in &dead {
            self.settled(std::slice::from_ref(record));
        }
        Ok(())
    }

    /// Publishes a dead letter, trying until the broker has it: giving up here would lose the record.
    pub(super) async fn bury(
        &self,
        record: &Record,
        failure: &Failure,
        span: &Span,
        attempts: u32,
        first_failure_ms: i64,
    ) -> Result<(), Ended> {
        let Identity { group, topic, .. } = &*self.identity;
        let (partition, offset, code) = (record.partition, record.offset, failure.code.code);
        let verdict = Verdict { failure, attempts, first_failure_ms };
        let mut detail = Detail::Full;
        let mut failures = 0;
        loop {
            let letter = letter(&self.identity, record, &verdict, detail, self.message_bytes_max);
            let error = tokio::select! {
                biased;
                () = self.abandon.cancelled() => return Err(Ended),
                published = self.producer.publish_raw(letter) => match published {
                    Ok(_) => break,
                    Err(error) => error,
                },
            };
            if matches!(error, PublishError::TooLarge { .. }) && detail == Detail::Full {
                detail = Detail::CodeOnly;
                continue;
            }
            failures += 1;
            if failures == 1 {
                let reason = millrace_telemetry::error_chain(&error);
                tracing::error!(parent: span, group, topic, partition, offset, code, reason,
                    "dead letter was not published; the partition waits with its record");
            }
            self.wait(failures).await?;
        }
        tracing::warn!(parent: span, group, topic, partition, offset, code, attempts,
            reason = failure.chain, "record went to the dead-letter topic");
        metrics::dead_lettered(group, topic, code);
        self.board.dead_lettered();
        Ok(())
    }
}
