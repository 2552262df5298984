//! Does a member begin records of a partition that it has given back?

use std::collections::BTreeMap;

use crate::anomaly::{Anomaly, AnomalyName};
use crate::history::{Event, What};
use crate::promises::Promises;
use crate::view::{Partition, View};

/// A member's notes of assignments come from another task than those of its handlers and may be this much later; a
/// start is not held against a member that notes the partition's assignment within this time.
const NOTE_LAG_US: i64 = 300_000;

pub(super) fn check(view: &View<'_>, _: &Promises) -> Vec<Anomaly> {
    let mut found = Vec::new();
    // By member and partition: true from a revocation to the next assignment.
    let mut given_back: BTreeMap<(&str, Partition<'_>), bool> = BTreeMap::new();
    for (index, event) in view.history.events.iter().enumerate() {
        let by = event.by.as_str();
        match &event.what {
            What::Assigned { topic, partition } => {
                given_back.insert((by, (topic, *partition)), false);
            }
            What::Revoked { topic, partition } | What::Lost { topic, partition } => {
                given_back.insert((by, (topic, *partition)), true);
            }
            What::Started { id, topic, partition, offset, .. } => {
                let owned = (by, (topic.as_str(), *partition));
                if given_back.get(&owned) == Some(&true)
                    && !assigned_soon(&view.history.events[index..], owned)
                {
                    let text = format!(
                        "{by} began {id} at {topic}/{partition}/{offset} after it had given the partition back"
                    );
                    found.push(Anomaly::new(AnomalyName::HandledAfterRevoke, text));
                }
            }
            What::Sent { .. }
            | What::Acked { .. }
            | What::SendFailed { .. }
            | What::SendUnknown { .. }
            | What::Polled { .. }
            | What::Failed { .. }
            | What::Abandoned { .. }
            | What::Effect { .. }
            | What::Settled { .. }
            | What::Committed { .. }
            | What::Zombie { .. }
            | What::Ended { .. } => {}
        }
    }
    found
}

fn assigned_soon(events: &[Event], (by, partition): (&str, Partition<'_>)) -> bool {
    let until = events.first().map_or(0, |event| event.at_us) + NOTE_LAG_US;
    events.iter().take_while(|event| event.at_us <= until).any(|event| {
        matches!(&event.what, What::Assigned { topic, partition: number }
            if event.by == by && (topic.as_str(), *number) == partition)
    })
}
