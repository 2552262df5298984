//! The history turned round: by record instead of by time. Built once, read by every check.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use uuid::Uuid;

use crate::history::{EffectRow, Event, History, Outcome, What};

/// A partition: topic and number.
pub(crate) type Partition<'h> = (&'h str, i32);

/// Where and when a process noted something about a record. `index` counts events in the order of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Note<'h> {
    pub(crate) index: usize,
    pub(crate) at_us: i64,
    pub(crate) by: &'h str,
}

/// A handler's beginning.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start<'h> {
    pub(crate) note: Note<'h>,
    pub(crate) place: Place<'h>,
}

/// A record's place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place<'h> {
    pub(crate) partition: Partition<'h>,
    pub(crate) offset: i64,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (topic, partition) = self.partition;
        write!(f, "{topic}/{partition}/{}", self.offset)
    }
}

/// What its producer said of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent<'h> {
    pub(crate) note: Note<'h>,
    pub(crate) key: &'h str,
    pub(crate) seq: u64,
    pub(crate) topic: &'h str,
    pub(crate) batch: u64,
}

/// All that is known about one record.
#[derive(Debug, Default)]
pub(crate) struct Facts<'h> {
    pub(crate) sent: Option<Sent<'h>>,
    pub(crate) acked: Option<Place<'h>>,
    pub(crate) send_failed: bool,
    pub(crate) starts: Vec<Start<'h>>,
    pub(crate) polls: usize,
    /// Effects that were noted, with their epochs.
    pub(crate) noted: Vec<(Note<'h>, Option<i64>)>,
    pub(crate) settled: Vec<(Note<'h>, Outcome)>,
    /// When the handler asked for another attempt.
    pub(crate) failed: Vec<Note<'h>>,
    pub(crate) log: Vec<Place<'h>>,
    pub(crate) rows: Vec<&'h EffectRow>,
    pub(crate) inbox: Vec<Outcome>,
    pub(crate) letters: usize,
}

impl Facts<'_> {
    /// How often it took effect.
    pub(crate) fn effects(&self, in_store: bool) -> usize {
        if in_store { self.rows.len() } else { self.noted.len() }
    }

    /// True when it was given up for good: the letter is what counts, the inbox row must agree with it.
    pub(crate) fn dead(&self) -> bool {
        self.letters > 0 || self.inbox.contains(&Outcome::Dead)
    }

    /// True when it is known to have reached the log.
    pub(crate) fn written(&self) -> bool {
        self.acked.is_some() || !self.log.is_empty() || !self.starts.is_empty() || self.polls > 0
    }
}

/// The history by record.
#[derive(Debug)]
pub(crate) struct View<'h> {
    pub(crate) history: &'h History,
    pub(crate) records: BTreeMap<Uuid, Facts<'h>>,
    /// Members that were stopped past their session, or were told that a partition had been taken.
    pub(crate) zombies: BTreeSet<&'h str>,
    /// Every place that was seen, with the records that were seen there.
    pub(crate) places: BTreeMap<Place<'h>, BTreeSet<Uuid>>,
    /// How far each partition was handled or committed: the first offset that nobody reached.
    pub(crate) reached: BTreeMap<Partition<'h>, i64>,
}

impl<'h> View<'h> {
    pub(crate) fn of(history: &'h History) -> Self {
        let mut view = Self {
            history,
            records: BTreeMap::new(),
            zombies: BTreeSet::new(),
            places: BTreeMap::new(),
            reached: BTreeMap::new(),
        };
        for (index, event) in history.events.iter().enumerate() {
            view.take(index, event);
        }
        view.take_finals();
        view
    }

    /// True when effects are rows of a store.
    pub(crate) fn effects_in_store(&self) -> bool {
        self.history.finals.effects.is_some()
    }

    pub(crate) fn effects(&self, facts: &Facts<'h>) -> usize {
        facts.effects(self.effects_in_store())
    }

    /// True when a process that worked on this record was a zombie at some time.
    pub(crate) fn zombie_worked_on(&self, facts: &Facts<'h>) -> bool {
        facts.starts.iter().any(|start| self.zombies.contains(start.note.by))
            || facts.noted.iter().any(|(note, _)| self.zombies.contains(note.by))
    }

    fn take(&mut self, index: usize, event: &'h Event) {
        let note = Note { index, at_us: event.at_us, by: &event.by };
        match &event.what {
            What::Sent { id, key, seq, topic, batch } => {
                let sent = Sent { note, key, seq: *seq, topic, batch: *batch };
                self.facts(*id).sent = Some(sent);
            }
            What::Acked { id, partition, offset } => {
                let facts = self.facts(*id);
                let topic = facts.sent.map_or("", |sent| sent.topic);
                let place = Place { partition: (topic, *partition), offset: *offset };
                facts.acked = Some(place);
                self.see(place, *id);
            }
            What::SendFailed { id } => self.facts(*id).send_failed = true,
            What::SendUnknown { id } => {
                self.facts(*id);
            }
            What::Polled { id, topic, partition, offset, .. } => {
                self.facts(*id).polls += 1;
                self.see(Place { partition: (topic, *partition), offset: *offset }, *id);
            }
            What::Started { id, topic, partition, offset, .. } => {
                let place = Place { partition: (topic, *partition), offset: *offset };
                self.facts(*id).starts.push(Start { note, place });
                self.see(place, *id);
                self.reach(place.partition, offset + 1);
            }
            What::Failed { id } => self.facts(*id).failed.push(note),
            What::Effect { id, epoch } => self.facts(*id).noted.push((note, *epoch)),
            What::Settled { id, outcome } => self.facts(*id).settled.push((note, *outcome)),
            What::Committed { topic, partition, offset } => {
                self.reach((topic, *partition), *offset);
            }
            What::Zombie { member } => {
                self.zombies.insert(member);
            }
            What::Lost { .. } => {
                self.zombies.insert(&event.by);
            }
            What::Assigned { .. }
            | What::Revoked { .. }
            | What::Abandoned { .. }
            | What::Silent { .. }
            | What::Ended { .. } => {}
        }
    }

    fn take_finals(&mut self) {
        let finals = &self.history.finals;
        for record in finals.log.iter().flatten() {
            let partition = (record.topic.as_str(), record.partition);
            let place = Place { partition, offset: record.offset };
            self.facts(record.id).log.push(place);
            self.see(place, record.id);
        }
        for row in finals.effects.iter().flatten() {
            self.facts(row.id).rows.push(row);
        }
        for row in finals.inbox.iter().flatten() {
            self.facts(row.id).inbox.push(row.outcome);
        }
        for id in &finals.letters {
            self.facts(*id).letters += 1;
        }
    }

    fn facts(&mut self, id: Uuid) -> &mut Facts<'h> {
        self.records.entry(id).or_default()
    }

    fn see(&mut self, place: Place<'h>, id: Uuid) {
        self.places.entry(place).or_default().insert(id);
    }

    fn reach(&mut self, partition: Partition<'h>, next: i64) {
        let reached = self.reached.entry(partition).or_insert(next);
        *reached = (*reached).max(next);
    }
}
