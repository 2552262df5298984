//! The handler: does to each record what its fate says, and notes every step.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use millrace_checker::{Outcome, What};
use millrace_envelope::MessageContext;
use millrace_messaging::Epoch;
use uuid::Uuid;

use super::sink::{Sink, SinkError};
use crate::fate::{Fate, Fates};
use crate::notes::Notes;

/// One record in the handler's words, whatever the consumer's are.
pub(crate) struct Work<'a> {
    pub(crate) id: Uuid,
    pub(crate) key: &'a str,
    pub(crate) seq: u64,
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// How often the consumer says that it was handed over, on all topics together.
    pub(crate) delivered: u32,
    pub(crate) epoch: Option<&'a Epoch>,
    pub(crate) context: &'a MessageContext,
}

/// The handler's answer.
pub(crate) enum Word {
    Done,
    Again(SinkError),
    GiveUp,
}

pub(crate) struct Sorter {
    notes: Notes,
    seed: u64,
    fates: Fates,
    sink: Sink,
    /// Attempts of this process; a restarted one begins anew.
    attempts: Mutex<HashMap<Uuid, u32>>,
}

impl Sorter {
    pub(crate) fn new(notes: Notes, seed: u64, fates: Fates, sink: Sink) -> Self {
        Self { notes, seed, fates, sink, attempts: Mutex::default() }
    }

    pub(crate) async fn sort(&self, work: Work<'_>) -> Word {
        let fate = self.fates.of(self.seed, work.id);
        let (id, attempt) = (work.id, self.attempt(work.id).max(work.delivered));
        let topic = work.topic.to_owned();
        let (partition, offset) = (work.partition, work.offset);
        let mut hand = Hand { notes: &self.notes, id, full: true };
        self.notes.note(What::Started { id, topic, partition, offset, attempt });
        let word = self.settle(fate, attempt, &work).await;
        hand.full = false;
        word
    }

    async fn settle(&self, fate: Fate, attempt: u32, work: &Work<'_>) -> Word {
        let id = work.id;
        if !fate.takes.is_zero() {
            tokio::time::sleep(fate.takes).await;
        }
        if attempt <= fate.failures {
            self.notes.note(What::Failed { id });
            return Word::Again(SinkError::Fated);
        }
        if fate.permanent {
            self.notes.note(What::Settled { id, outcome: Outcome::Dead });
            return Word::GiveUp;
        }
        match self.sink.take(work, &self.notes).await {
            Ok(()) => {
                self.notes.note(What::Settled { id, outcome: Outcome::Done });
                Word::Done
            }
            Err(error) => {
                tracing::info!(record = %id, error = %error, "the sink refused; the record is tried again");
                self.notes.note(What::Failed { id });
                Word::Again(error)
            }
        }
    }

    fn attempt(&self, id: Uuid) -> u32 {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = attempts.entry(id).or_default();
        *attempt += 1;
        *attempt
    }
}

/// A record in hand; dropped while full when the consumer gives the handler up.
struct Hand<'n> {
    notes: &'n Notes,
    id: Uuid,
    full: bool,
}

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        if self.full {
            self.notes.note(What::Abandoned { id: self.id });
        }
    }
}
