//! Does every record have an outcome, one, and do the stores agree on it?

use uuid::Uuid;

use crate::anomaly::{Anomaly, AnomalyName};
use crate::history::Outcome;
use crate::promises::Promises;
use crate::view::{Facts, View};

pub(super) fn check(view: &View<'_>, promises: &Promises) -> Vec<Anomaly> {
    let mut found = Vec::new();
    for (id, facts) in &view.records {
        if promises.at_least_once {
            found.extend(without_outcome(view, *id, facts));
        }
        found.extend(too_many_outcomes(view, promises, *id, facts));
        if promises.inbox && view.history.finals.inbox.is_some() {
            found.extend(stores_disagree(view, *id, facts));
        }
    }
    found
}

/// An acknowledged record that is neither done nor dead: lost when the group went past it, unseen when it did not.
fn without_outcome(view: &View<'_>, id: Uuid, facts: &Facts<'_>) -> Option<Anomaly> {
    let sent = facts.sent?;
    let place = facts.acked.or_else(|| facts.log.first().copied())?;
    if facts.send_failed || view.effects(facts) > 0 || facts.dead() {
        return None;
    }
    let reached = view.reached.get(&place.partition).copied().unwrap_or(0);
    let (topic, partition) = place.partition;
    let (key, seq, offset) = (sent.key, sent.seq, place.offset);
    let record = format!("{id} (key {key}, seq {seq}) at {topic}/{partition}/{offset}");
    let begun = facts.starts.len();
    Some(if reached > offset {
        Anomaly::new(
            AnomalyName::LostWrite,
            format!(
                "{record} is neither done nor dead, begun {begun} times; the group reached offset {reached}"
            ),
        )
    } else {
        Anomaly::new(
            AnomalyName::Unseen,
            format!("{record} was never handed over; the group reached offset {reached}"),
        )
    })
}

fn too_many_outcomes(
    view: &View<'_>,
    promises: &Promises,
    id: Uuid,
    facts: &Facts<'_>,
) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let effects = view.effects(facts);
    if effects > 0 && facts.sent.is_none() {
        let text = format!("{id} took effect {effects} times, and nobody sent it");
        found.push(Anomaly::new(AnomalyName::EffectWithoutRecord, text));
    }
    if effects > 1 && promises.exactly_once_effect {
        let text = format!("{id} took effect {effects} times, on {}", members(view, facts));
        found.push(Anomaly::new(AnomalyName::DoubleEffect, text));
    }
    let explained = !promises.exactly_once_effect && view.zombie_worked_on(facts);
    if effects > 0 && facts.dead() && !explained {
        let text = format!("{id} took effect on {} and was given up", members(view, facts));
        found.push(Anomaly::new(AnomalyName::DoneAndDead, text));
    }
    if facts.letters > 1 && promises.one_letter {
        let text = format!("{id} has {} dead letters", facts.letters);
        found.push(Anomaly::new(AnomalyName::DoubleLetter, text));
    }
    found
}

/// Effect and `done` row, `dead` row and letter: each pair is written in one commit, so each is there or absent as one.
fn stores_disagree(view: &View<'_>, id: Uuid, facts: &Facts<'_>) -> Option<Anomaly> {
    let effect = view.effects(facts) > 0;
    let done = facts.inbox.contains(&Outcome::Done);
    let dead = facts.inbox.contains(&Outcome::Dead);
    let letter = facts.letters > 0;
    let says = |there: bool| if there { "there" } else { "absent" };
    (effect != done || dead != letter).then(|| {
        let text = format!(
            "{id}: effect {}, inbox row `done` {}, inbox row `dead` {}, dead letter {}",
            says(effect),
            says(done),
            says(dead),
            says(letter),
        );
        Anomaly::new(AnomalyName::HalfCommit, text)
    })
}

fn members(view: &View<'_>, facts: &Facts<'_>) -> String {
    let all: Vec<&str> = match view.effects_in_store() {
        true => facts.rows.iter().map(|row| row.member.as_str()).collect(),
        false => facts.noted.iter().map(|(note, _)| note.by).collect(),
    };
    all.join(", ")
}
