//! What the broker said of each letter, gathered by the client's thread and waited for by ours.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rdkafka::ClientContext;
use rdkafka::client::OAuthToken;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, ProducerContext};

use super::left;
use crate::client::Connection;

/// A letter's place, and why it was not acknowledged.
type Failure = (usize, KafkaError);

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
}

impl Reports {
    /// Starts anew, and says under which number.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.state();
        let transaction = state.transaction + 1;
        *state = State { transaction, ..State::default() };
        transaction
    }

    /// The failures, once so many letters were reported; `None` when the time is up before.
    pub(super) fn wait(&self, letters: usize, until: Instant) -> Option<Vec<Failure>> {
        let mut state = self.state();
        while state.reported < letters {
            let waited = self.changed.wait_timeout(state, left(until)?);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(std::mem::take(&mut state.failed))
    }

    fn report(&self, ticket: Ticket, failure: Option<KafkaError>) {
        let mut state = self.state();
        if ticket.transaction != state.transaction {
            return;
        }
        state.reported += 1;
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
