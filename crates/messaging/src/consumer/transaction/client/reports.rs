//! What the broker said of each letter, gathered by the client's thread and waited for by ours.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, ProducerContext};

use super::left;
use crate::client::Connection;

/// How long a transaction that has failed is waited for, so that one failure tells what there is to tell. What was on its
/// way behind a letter that is refused stays unreported: the client keeps it for a repetition that never comes.
const GRACE: Duration = Duration::from_millis(100);

/// A letter's place, and why it was not acknowledged.
type Failure = (usize, KafkaError);

/// What was reported of the letters of a transaction.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) failed: Vec<Failure>,
    /// True when every letter was reported.
    pub(super) complete: bool,
}

/// Which letter of which transaction a report is about. An abort doesn't wait for reports that the client's thread has
/// already taken: without the number, the last transaction's failures would be told of this one's letters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ticket {
    pub(super) transaction: u64,
    pub(super) index: usize,
}

#[derive(Debug, Default)]
pub(super) struct Reports {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    transaction: u64,
    reported: usize,
    failed: Vec<Failure>,
    failing_since: Option<Instant>,
}

impl Reports {
    /// Starts anew, and says under which number.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.state();
        let transaction = state.transaction + 1;
        *state = State { transaction, ..State::default() };
        transaction
    }

    /// What was reported, once it is of so many letters or some have failed; `None` when the time is up before.
    pub(super) fn wait(&self, letters: usize, until: Instant) -> Option<Outcome> {
        let mut state = self.state();
        while state.reported < letters {
            let over = state.failing_since.map_or(until, |since| until.min(since + GRACE));
            let Some(wait) = left(over) else { break };
            let waited = self.changed.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let complete = state.reported >= letters;
        let failed = std::mem::take(&mut state.failed);
        (complete || !failed.is_empty()).then_some(Outcome { failed, complete })
    }

    fn report(&self, ticket: Ticket, failure: Option<KafkaError>) {
        let mut state = self.state();
        if ticket.transaction != state.transaction {
            return;
        }
        state.reported += 1;
        if failure.is_some() {
            state.failing_since.get_or_insert_with(Instant::now);
        }
        state.failed.extend(failure.map(|error| (ticket.index, error)));
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct LetterContext {
    connection: Arc<Connection>,
    reports: Arc<Reports>,
}

impl LetterContext {
    pub(super) fn new(connection: Arc<Connection>, reports: Arc<Reports>) -> Self {
        Self { connection, reports }
    }
}

impl ProducerContext for LetterContext {
    type DeliveryOpaque = Box<Ticket>;

    fn delivery(&self, result: &DeliveryResult<'_>, ticket: Box<Ticket>) {
        match result {
            Ok(_) => {
                self.connection.answered();
                self.reports.report(*ticket, None);
            }
            Err((error, _)) => self.reports.report(*ticket, Some(error.clone())),
        }
    }
}

impl ClientContext for LetterContext {
    // Asked for only when the mechanism is OAUTHBEARER.
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.connection.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.connection.reported(&error, reason);
    }

    fn generate_oauth_token(
        &self,
        _: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        self.connection.token()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn refused() -> Option<KafkaError> {
        let code = rdkafka::error::RDKafkaErrorCode::MessageSizeTooLarge;
        Some(KafkaError::MessageProduction(code))
    }

    #[test]
    fn a_failure_is_told_though_others_are_never_reported() {
        let reports = Reports::default();
        let transaction = reports.begin();
        reports.report(Ticket { transaction, index: 1 }, refused());
        let Outcome { failed, complete } = reports.wait(3, Instant::now() + LONG).unwrap();
        assert_eq!((failed.len(), failed[0].0, complete), (1, 1, false));
    }

    #[test]
    fn reports_of_the_last_transaction_are_none_of_this_ones() {
        let reports = Reports::default();
        let before = reports.begin();
        let transaction = reports.begin();
        reports.report(Ticket { transaction: before, index: 0 }, refused());
        assert!(reports.wait(1, Instant::now()).is_none());
        reports.report(Ticket { transaction, index: 0 }, None);
        let Outcome { failed, complete } = reports.wait(1, Instant::now() + LONG).unwrap();
        assert!(failed.is_empty() && complete);
    }
}
