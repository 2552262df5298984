//! Does a sink refuse whoever owned a partition before?

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::anomaly::{Anomaly, AnomalyName};
use crate::promises::Promises;
use crate::view::{Partition, View};

pub(super) fn check(view: &View<'_>, promises: &Promises) -> Vec<Anomaly> {
    if !promises.epochs {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut highest: BTreeMap<Partition<'_>, (i64, &str)> = BTreeMap::new();
    for Write { partition, epoch, member, id } in writes(view) {
        let (before, owner) = *highest.entry(partition).or_insert((epoch, member));
        if epoch < before {
            let (topic, partition) = partition;
            let text = format!(
                "{topic}/{partition}: {member} wrote {id} under epoch {epoch} after {owner} under {before}"
            );
            found.push(Anomaly::new(AnomalyName::StaleEpoch, text));
        } else {
            highest.insert(partition, (epoch, member));
        }
    }
    found
}

struct Write<'h> {
    partition: Partition<'h>,
    epoch: i64,
    member: &'h str,
    id: Uuid,
}

/// Effects under epochs, in the order in which the sink took them.
fn writes<'h>(view: &View<'h>) -> Vec<Write<'h>> {
    let Some(rows) = &view.history.finals.effects else { return noted(view) };
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_by_key(|row| row.position);
    rows.into_iter()
        .filter_map(|row| {
            let partition = (row.topic.as_str(), row.partition);
            let (member, id) = (row.member.as_str(), row.id);
            Some(Write { partition, epoch: row.epoch?, member, id })
        })
        .collect()
}

/// The same from notes; the partition is where the member had begun the record.
fn noted<'h>(view: &View<'h>) -> Vec<Write<'h>> {
    let mut writes: Vec<(usize, Write<'h>)> = Vec::new();
    for (id, facts) in &view.records {
        for (note, epoch) in &facts.noted {
            let begun =
                facts.starts.iter().rfind(|s| s.note.by == note.by && s.note.index < note.index);
            if let (Some(epoch), Some(begun)) = (*epoch, begun) {
                let partition = begun.place.partition;
                writes.push((note.index, Write { partition, epoch, member: note.by, id: *id }));
            }
        }
    }
    writes.sort_by_key(|(index, _)| *index);
    writes.into_iter().map(|(_, write)| write).collect()
}
