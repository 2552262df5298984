//! What is judged: notes that processes took while they worked, and what the stores hold at the end.
//!
//! Every process writes its own notes, in its own order, and the notes of all are laid together by time. A process
//! may be killed between doing and noting, so a missing note proves nothing; what a store holds is proof.
//! These types are written to files on purpose: a broken run must be readable by a person and checked again later.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One note, about messages unless `W` says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event<W = What> {
    /// When, in microseconds since 1970 by the machine's clock.
    pub at_us: i64,
    /// The process that noted it: a member, a producer, a reader or the conductor. A restarted process has a new name.
    pub by: String,
    /// What it noted.
    #[serde(flatten)]
    pub what: W,
}

/// What can be noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the words of the field, said once at `Started`")]
pub enum What {
    /// A record is about to be sent, as the `seq`th of its key; those of one `batch` are sent in one call.
    Sent { id: Uuid, key: String, seq: u64, topic: String, batch: u64 },
    /// The broker acknowledged it.
    Acked { id: Uuid, partition: i32, offset: i64 },
    /// It was for certain not written, or its transaction was aborted.
    SendFailed { id: Uuid },
    /// It may have been written.
    SendUnknown { id: Uuid },
    /// The partition is this process's from here on.
    Assigned { topic: String, partition: i32 },
    /// It has given the partition back.
    Revoked { topic: String, partition: i32 },
    /// It was told that the partition had been taken.
    Lost { topic: String, partition: i32 },
    /// A reader that reads partitions in order got this record in its `poll`th poll.
    Polled { poll: u64, topic: String, partition: i32, offset: i64, id: Uuid },
    /// A handler began the record that stands at this place, for the `attempt`th time (from 1) on this process.
    Started { id: Uuid, topic: String, partition: i32, offset: i64, attempt: u32 },
    /// The handler asked for another attempt.
    Failed { id: Uuid },
    /// The record took effect outside a store, under this epoch if there was one.
    Effect { id: Uuid, epoch: Option<i64> },
    /// The handler was dropped before it said a word; whatever it did is not settled.
    Abandoned { id: Uuid },
    /// The handler returned its last word on the record.
    Settled { id: Uuid, outcome: Outcome },
    /// The group's committed offset was seen to be this.
    Committed { topic: String, partition: i32, offset: i64 },
    /// The process `member` was stopped past its session and went on.
    Zombie { member: String },
    /// Whoever watches the group's coordinator waited so long for its last answer: a commit may have, too.
    Silent { for_us: i64 },
    /// The process `member` is gone, however it ended.
    Ended { member: String },
}

/// How a record ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It took effect.
    Done,
    /// It was given up.
    Dead,
}

/// A record of the log under test, read after all was over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// The topic's logical name.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The record's id.
    pub id: Uuid,
}

/// A row that an effect left in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectRow {
    /// The record that took effect.
    pub id: Uuid,
    /// The process that wrote it.
    pub member: String,
    /// The epoch it wrote under, if any.
    pub epoch: Option<i64>,
    /// The topic that the epoch is of.
    pub topic: String,
    /// And the partition.
    pub partition: i32,
    /// The order in which the store took the effects: higher is later. Exact within one key and within one
    /// partition's epochs, because both are taken under a lock.
    pub position: i64,
    /// The record that the effect's transaction put into the outbox.
    pub emitted: Option<Uuid>,
}

/// A row of the inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxRow {
    /// The record.
    pub id: Uuid,
    /// How it ended.
    pub outcome: Outcome,
}

/// What the stores hold when all is over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finals {
    /// The topic under test from its first to its last offset; `None` when nobody read it.
    pub log: Option<Vec<LogRecord>>,
    /// Effects in a store; `None` when effects are only noted.
    pub effects: Option<Vec<EffectRow>>,
    /// The inbox; `None` without one.
    pub inbox: Option<Vec<InboxRow>>,
    /// The records that the dead letters were, one entry a letter.
    pub letters: Vec<Uuid>,
    /// The topic that effects emit to; `None` when they don't, or nobody read it.
    pub emitted: Option<Vec<LogRecord>>,
}

/// All that is known about one run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// The notes; [`History::new`] lays them in the order of time.
    pub events: Vec<Event>,
    /// The end.
    pub finals: Finals,
}

impl History {
    /// Lays the notes of all processes together. Notes of one process keep their order, so hand them over process by
    /// process.
    #[must_use]
    pub fn new(mut events: Vec<Event>, finals: Finals) -> Self {
        // Stable: notes of the same microsecond stay as they were.
        events.sort_by_key(|event| event.at_us);
        Self { events, finals }
    }
}

impl<W: DeserializeOwned> Event<W> {
    /// Reads notes from JSON lines. A last line without an end is what a killed process leaves, and is skipped.
    ///
    /// # Errors
    /// When another line is no note.
    pub fn read_all(text: &str) -> Result<Vec<Self>, serde_json::Error> {
        let torn = !text.is_empty() && !text.ends_with('\n');
        let whole = if torn { text.rfind('\n').map_or("", |end| &text[..end]) } else { text };
        whole.lines().map(serde_json::from_str).collect()
    }
}

impl History {
    /// [`Event::read_all`] of notes about messages.
    ///
    /// # Errors
    /// When a line is no note.
    pub fn read_events(text: &str) -> Result<Vec<Event>, serde_json::Error> {
        Event::read_all(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_survive_the_file_and_a_torn_last_line_is_skipped() {
        let event = Event {
            at_us: 7,
            by: "m1".into(),
            what: What::Settled { id: Uuid::nil(), outcome: Outcome::Dead },
        };
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(
            line,
            r#"{"at_us":7,"by":"m1","event":"settled","id":"00000000-0000-0000-0000-000000000000","outcome":"dead"}"#
        );
        let text = format!("{line}\n{line}\n{{\"at_us\":8,\"by");
        assert_eq!(History::read_events(&text).unwrap(), [event.clone(), event]);
        assert!(History::read_events("{}\n").is_err());
        assert!(History::read_events("{\"at").unwrap().is_empty());
    }
}
