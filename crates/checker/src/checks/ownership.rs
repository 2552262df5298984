//! Does a member begin records of a partition that it has given back?

use std::collections::BTreeMap;

use crate::anomaly::{Anomaly, AnomalyName};
use crate::history::{Event, What};
use crate::promises::Promises;
use crate::view::{Partition, View};

/// A member's notes of its partitions come from another task than those of its handlers and may be this much later or
/// earlier: a start is not held against a member that notes the partition's assignment within this time, nor one that
/// was on its way when the partition was asked for; giving it back waits for what was begun.
const NOTE_LAG_US: i64 = 300_000;

pub(super) fn check(view: &View<'_>, _: &Promises) -> Vec<Anomaly> {
    let mut found = Vec::new();
    // By member and partition: when it was given back, until the next assignment.
    let mut given_back: BTreeMap<(&str, Partition<'_>), i64> = BTreeMap::new();
    for (index, event) in view.history.events.iter().enumerate() {
        let by = event.by.as_str();
        match &event.what {
            What::Assigned { topic, partition } => {
                given_back.remove(&(by, (topic.as_str(), *partition)));
            }
            What::Revoked { topic, partition } | What::Lost { topic, partition } => {
                given_back.insert((by, (topic, *partition)), event.at_us);
            }
            What::Started { id, topic, partition, offset, .. } => {
                let owned = (by, (topic.as_str(), *partition));
                let late = |since: &i64| event.at_us - since > NOTE_LAG_US;
                if given_back.get(&owned).is_some_and(late)
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
            | What::Silent { .. }
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
