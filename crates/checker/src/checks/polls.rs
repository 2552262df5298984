//! Does a reader that reads partitions in order go forward, record by record, while it owns them?
//!
//! A skipped record is no anomaly when it had been finished before: the map of completed offsets lets a new owner
//! jump over what its predecessor finished.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::anomaly::{Anomaly, AnomalyName};
use crate::history::What;
use crate::promises::Promises;
use crate::view::{Partition, Place, View};

/// Where a reader is in a partition.
#[derive(Clone, Copy)]
struct Position {
    poll: u64,
    offset: i64,
}

pub(super) fn check(view: &View<'_>, _: &Promises) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let mut positions: BTreeMap<(&str, Partition<'_>), Position> = BTreeMap::new();
    for (index, event) in view.history.events.iter().enumerate() {
        match &event.what {
            What::Assigned { topic, partition }
            | What::Revoked { topic, partition }
            | What::Lost { topic, partition } => {
                positions.remove(&(&*event.by, (topic, *partition)));
            }
            What::Polled { poll, topic, partition, offset, .. } => {
                let place = Place { partition: (topic, *partition), offset: *offset };
                let now = Position { poll: *poll, offset: *offset };
                let before = positions.insert((&*event.by, place.partition), now);
                found.extend(
                    before.and_then(|before| step(view, index, &event.by, before, place, *poll)),
                );
            }
            What::Sent { .. }
            | What::Acked { .. }
            | What::SendFailed { .. }
            | What::SendUnknown { .. }
            | What::Started { .. }
            | What::Failed { .. }
            | What::Abandoned { .. }
            | What::Effect { .. }
            | What::Settled { .. }
            | What::Committed { .. }
            | What::Zombie { .. }
            | What::Silent { .. }
            | What::Ended { .. } => {}
        }
    }
    found
}

/// Judges the step from one polled record to the next.
fn step(
    view: &View<'_>,
    index: usize,
    by: &str,
    before: Position,
    place: Place<'_>,
    poll: u64,
) -> Option<Anomaly> {
    let internal = before.poll == poll;
    if place.offset <= before.offset {
        let name = match internal {
            true => AnomalyName::InternalNonmonotonicPoll,
            false => AnomalyName::NonmonotonicPoll,
        };
        let text = format!("{by} polled {place} after offset {}", before.offset);
        return Some(Anomaly::new(name, text));
    }
    let gap = Place { offset: before.offset + 1, ..place }..place;
    let skipped: Vec<(&Place<'_>, Uuid)> = view
        .places
        .range(gap)
        .flat_map(|(place, ids)| ids.iter().map(move |id| (place, *id)))
        .filter(|(_, id)| !finished_before(view, *id, index))
        .collect();
    let (first, id) = skipped.first()?;
    let name = match internal {
        true => AnomalyName::InternalPollSkip,
        false => AnomalyName::PollSkip,
    };
    let text = format!(
        "{by} polled {place} after offset {}, past {} unfinished records, the first {id} at {first}",
        before.offset,
        skipped.len(),
    );
    Some(Anomaly::new(name, text))
}

fn finished_before(view: &View<'_>, id: Uuid, index: usize) -> bool {
    view.records.get(&id).is_some_and(|facts| {
        facts.letters > 0 || facts.settled.iter().any(|(note, _)| note.index < index)
    })
}
