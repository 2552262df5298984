//! What went through and what didn't: whose failure each is, and what follows from it.

use std::time::Instant;

use millrace_resilience::{Class, Classify as _};
use millrace_telemetry::error_chain;

use super::flight::{Failure, Landed};
use super::run::AWAY;
use super::work::{Tally, Work};
use super::{RelayError, RowError, metrics};

/// What an operator needs to read of a refusal.
const REASON_CHARS_MAX: usize = 500;

impl Work<'_> {
    /// Takes note of what went through, and decides whose each failure is.
    pub(super) async fn judge(
        &mut self,
        landed: Landed,
        tally: &mut Tally,
    ) -> Result<(), RelayError> {
        for ordering in &landed.acknowledged {
            metrics::PUBLISHED.with_label_values(&[ordering.topic.as_str()]).inc();
            self.holds.succeeded(ordering);
        }
        tally.acknowledged += landed.acknowledged.len();
        if !landed.acknowledged.is_empty() {
            self.pauses = 0;
        } else if landed.swept > 0 {
            // The producer ended, and had taken nothing since it ended last: the broker's trouble.
            self.pauses = self.pauses.saturating_add(1);
            self.paused_until = Some(Instant::now() + AWAY.wait(self.pauses));
        }
        for failure in landed.failures {
            tally.failed += 1;
            let error = self.blame(failure).await?;
            tally.first_error.get_or_insert(error);
        }
        Ok(())
    }

    async fn blame(&mut self, failure: Failure) -> Result<RowError, RelayError> {
        let Failure { ordering, error, alone, topic_taken } = failure;
        let (class, now) = (error.class(), Instant::now());
        let topic = ordering.topic.as_str();
        metrics::PUBLISH_FAILURES.with_label_values(&[topic, class.as_str()]).inc();
        let failures = match (class, alone) {
            (Class::Permanent, true) => {
                Some(self.holds.refused(ordering.clone(), topic_taken, now))
            }
            (Class::Permanent, false) => {
                self.holds.suspected(ordering.clone(), topic_taken, now);
                None
            }
            (Class::Transient, _) => self.holds.put_off(ordering.clone(), topic_taken, now),
        };
        let own = failures.unwrap_or_default();
        let chain = error_chain(&error);
        // Not a line a try: the metric counts them all.
        if own.is_power_of_two() {
            tracing::warn!(
                topic,
                aggregate = ordering.aggregate_id,
                failures = own,
                error = chain,
                "the broker did not accept an outbox row; it stays"
            );
        } else {
            tracing::debug!(topic, aggregate = ordering.aggregate_id, error = chain, "row put off");
        }
        if own >= self.relay.settings.aside_after {
            let reason: String = chain.chars().take(REASON_CHARS_MAX).collect();
            self.session.set_aside(&ordering, own, &reason).await?;
            self.holds.forget(&ordering);
            self.measured = None;
            tracing::error!(
                topic,
                aggregate = ordering.aggregate_id,
                failures = own,
                error = chain,
                "an aggregate is set aside; `millrace outbox aside release` gives it back"
            );
        }
        Ok(error)
    }
}
