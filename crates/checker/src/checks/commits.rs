//! Was an offset committed past a record that somebody still had in hand?
//!
//! Such a record is lost if its owner dies now. Most never do, so the stores look right in the end; the notes
//! show the promise broken all the same.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::anomaly::{Anomaly, AnomalyName};
use crate::history::What;
use crate::promises::Promises;
use crate::view::{Facts, Partition, Place, View};

pub(super) fn check(view: &View<'_>, promises: &Promises) -> Vec<Anomaly> {
    if !promises.at_least_once {
        return Vec::new();
    }
    let begun = begun_places(view);
    // Below these offsets everything was judged by an earlier commit.
    let mut judged: BTreeMap<Partition<'_>, i64> = BTreeMap::new();
    let mut found = Vec::new();
    for (index, event) in view.history.events.iter().enumerate() {
        let What::Committed { topic, partition, offset } = &event.what else { continue };
        let partition = (topic.as_str(), *partition);
        let from = judged.get(&partition).copied().unwrap_or(0);
        if *offset <= from {
            continue;
        }
        judged.insert(partition, *offset);
        let span = Place { partition, offset: from }..Place { partition, offset: *offset };
        for (place, id) in begun.range(span) {
            let Some(facts) = view.records.get(id) else { continue };
            if let Some(by) = in_hand(facts, *place, index) {
                let text = format!(
                    "offset {offset} was committed past {id} at {place}, which {by} had in hand"
                );
                found.push(Anomaly::new(AnomalyName::PrematureCommit, text));
            }
        }
    }
    found
}

fn begun_places<'h>(view: &View<'h>) -> BTreeMap<Place<'h>, Uuid> {
    let all = view.records.iter();
    all.flat_map(|(id, facts)| facts.starts.iter().map(|start| (start.place, *id))).collect()
}

/// The member that had begun the record there by then, when nobody had ended it. On a retry topic it is another record,
/// with an offset of its own.
fn in_hand<'h>(facts: &Facts<'h>, place: Place<'_>, index: usize) -> Option<&'h str> {
    if facts.letters > 0 || facts.settled.iter().any(|(note, _)| note.index < index) {
        return None;
    }
    let last =
        facts.starts.iter().rfind(|start| start.place == place && start.note.index < index)?.note;
    let ended = facts
        .failed
        .iter()
        .any(|note| note.by == last.by && (last.index..index).contains(&note.index));
    (!ended).then_some(last.by)
}
