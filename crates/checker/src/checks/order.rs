//! Do records take effect in the order that was promised, and one at a time?
//!
//! What must stay in order is called a lane here: a key, or a partition. Repeats are allowed to run through a lane
//! again; the first effects must be in sequence. Two records of a lane in one member's hands at once are an anomaly
//! even when the effects happen to come out right.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::anomaly::{Anomaly, AnomalyName};
use crate::history::What;
use crate::promises::{Order, Promises};
use crate::view::{Facts, View};

pub(super) fn check(view: &View<'_>, promises: &Promises) -> Vec<Anomaly> {
    let lanes = match promises.order {
        Order::None => return Vec::new(),
        Order::Key => Lanes { view, name: AnomalyName::OrderPerKey, of: by_key },
        Order::Partition => Lanes { view, name: AnomalyName::OrderPerPartition, of: by_partition },
    };
    let mut found = lanes.out_of_sequence();
    found.extend(lanes.side_by_side());
    found
}

struct Lanes<'v, 'h> {
    view: &'v View<'h>,
    name: AnomalyName,
    /// The lane of a record and its place in the lane's sequence.
    of: fn(&Facts<'_>) -> Option<(String, i64)>,
}

fn by_key(facts: &Facts<'_>) -> Option<(String, i64)> {
    let sent = facts.sent?;
    Some((format!("key {}", sent.key), i64::try_from(sent.seq).ok()?))
}

fn by_partition(facts: &Facts<'_>) -> Option<(String, i64)> {
    let place = facts.acked.or_else(|| facts.log.first().copied())?;
    let (topic, partition) = place.partition;
    Some((format!("{topic}/{partition}"), place.offset))
}

impl Lanes<'_, '_> {
    fn lane(&self, id: Uuid) -> Option<(String, i64)> {
        self.view.records.get(&id).and_then(|facts| (self.of)(facts))
    }

    /// First effects, lane by lane.
    fn out_of_sequence(&self) -> Vec<Anomaly> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        let mut latest: BTreeMap<String, (i64, Uuid)> = BTreeMap::new();
        for id in self.effects_in_order() {
            let Some((lane, seq)) = self.lane(id) else { continue };
            if !seen.insert(id) {
                continue;
            }
            match latest.get(&lane) {
                Some((before, other)) if *before > seq => {
                    let text = format!(
                        "{lane}: {id} (seq {seq}) took effect after {other} (seq {before})"
                    );
                    found.push(Anomaly::new(self.name, text));
                }
                Some(_) | None => {
                    latest.insert(lane, (seq, id));
                }
            }
        }
        found
    }

    fn effects_in_order(&self) -> Vec<Uuid> {
        match &self.view.history.finals.effects {
            Some(rows) => {
                let mut rows: Vec<_> = rows.iter().collect();
                rows.sort_by_key(|row| row.position);
                rows.into_iter().map(|row| row.id).collect()
            }
            None => {
                let noted = self.view.history.events.iter();
                noted.filter_map(|event| effect_of(&event.what)).collect()
            }
        }
    }

    /// Records of one lane that one member had in its hands at once.
    fn side_by_side(&self) -> Vec<Anomaly> {
        let mut found = Vec::new();
        // By member and lane: the record in hand.
        let mut hands: BTreeMap<(&str, String), Uuid> = BTreeMap::new();
        for (index, event) in self.view.history.events.iter().enumerate() {
            let by = event.by.as_str();
            match &event.what {
                What::Started { id, .. } => {
                    let Some((lane, _)) = self.lane(*id) else { continue };
                    let before = hands.insert((by, lane.clone()), *id);
                    let Some(other) = before.filter(|other| other != id) else { continue };
                    if !self.repeats(*id, index) && self.still_wanted(other, by, index) {
                        let text =
                            format!("{by} began {id} while it had {other} of {lane} in hand");
                        found.push(Anomaly::new(self.name, text));
                    }
                }
                What::Settled { id, .. } | What::Abandoned { id } => {
                    if let Some((lane, _)) = self.lane(*id)
                        && hands.get(&(by, lane.clone())) == Some(id)
                    {
                        hands.remove(&(by, lane));
                    }
                }
                // What was in hand may have been dropped; the next owner has it.
                What::Assigned { .. } | What::Revoked { .. } | What::Lost { .. } => {
                    hands.retain(|(member, _), _| *member != by);
                }
                What::Sent { .. }
                | What::Acked { .. }
                | What::SendFailed { .. }
                | What::SendUnknown { .. }
                | What::Polled { .. }
                | What::Failed { .. }
                | What::Effect { .. }
                | What::Committed { .. }
                | What::Zombie { .. }
                | What::Silent { .. }
                | What::Ended { .. } => {}
            }
        }
        found
    }

    /// A record that was settled before runs through its lane again, and the order of repeats is nobody's promise.
    fn repeats(&self, id: Uuid, index: usize) -> bool {
        let facts = self.view.records.get(&id);
        facts.is_some_and(|facts| facts.settled.iter().any(|(note, _)| note.index < index))
    }

    /// A record that asked for another attempt is in hand until it gets one or is given up; one that never gets one
    /// was given up. A record that asked for nothing is in hand until it is settled.
    fn still_wanted(&self, id: Uuid, by: &str, index: usize) -> bool {
        let Some(facts) = self.view.records.get(&id) else { return false };
        let last_start = facts.starts.iter().filter(|s| s.note.by == by && s.note.index < index);
        let last_start = last_start.map(|start| start.note.index).max();
        let failed_since = facts
            .failed
            .iter()
            .any(|note| note.by == by && Some(note.index) > last_start && note.index < index);
        !failed_since || facts.starts.iter().any(|s| s.note.by == by && s.note.index > index)
    }
}

fn effect_of(what: &What) -> Option<Uuid> {
    if let What::Effect { id, .. } = what { Some(*id) } else { None }
}
