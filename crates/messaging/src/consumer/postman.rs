//! The errands of the thread that publishes letters, apart from the one that commits.
//!
//! A transaction has a long part, the letters' way into their topics, in which topics may be missing, leaders away and
//! the client itself unknown to its coordinator, and a short one, in which the offsets go in and it is committed. Only
//! the short part touches the group's offsets, so only in that are the plain commits of its partitions withheld.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::commit::{Point, current, offsets_of};
use super::identity::Identity;
use super::rebalance::CallbackContext;
use super::transaction::{
    LetterError, LetterWriter, Membership, OutgoingLetter, Resolved, StepError,
};
use crate::client::ClientError;

#[derive(Debug)]
pub(super) enum Errand {
    /// Brings letters to their topics, where nobody sees them yet.
    Send { letters: Vec<OutgoingLetter>, bound: Duration },
    /// Puts the offsets of their records into the same transaction, within the patience, and commits it.
    Commit { membership: Membership, points: Vec<Point>, patience: Duration },
    /// Finds out what became of a transaction whose end was not answered.
    Resolve { bound: Duration },
    /// Gives up what was sent and not committed.
    Abort,
}

#[derive(Debug)]
pub(super) enum Report {
    Sent(Result<(), LetterError>),
    Committed(Result<(), LetterError>),
    Resolved(Result<Resolved, LetterError>),
    Aborted,
}

/// Does what it is sent for; blocks.
pub(super) struct Postman {
    pub(super) consumer: Arc<BaseConsumer<CallbackContext>>,
    pub(super) identity: Arc<Identity>,
    pub(super) writer: LetterWriter,
}

impl Postman {
    pub(super) fn run(&mut self, errand: Errand) -> Report {
        match errand {
            Errand::Send { letters, bound } => Report::Sent(self.writer.send(&letters, bound)),
            Errand::Commit { membership, points, patience } => {
                Report::Committed(self.commit(&membership, points, patience))
            }
            Errand::Resolve { bound } => {
                Report::Resolved(self.writer.resolve(&self.consumer, bound))
            }
            Errand::Abort => {
                self.writer.abort();
                Report::Aborted
            }
        }
    }

    fn commit(
        &mut self,
        membership: &Membership,
        points: Vec<Point>,
        patience: Duration,
    ) -> Result<(), LetterError> {
        let all = points.len();
        let points = current(points, &self.consumer, &self.identity);
        let listed = if points.len() == all {
            offsets_of(&points, &self.identity)
        } else {
            // Letters whose offsets are of a topic that is gone would go out without them.
            Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::UnknownTopicOrPartition))
        };
        let offsets = listed.map_err(|error| {
            LetterError::Retry(StepError { step: "list the offsets", cause: ClientError(error) })
        })?;
        self.writer.commit(&self.consumer, membership, &offsets, patience)
    }
}
