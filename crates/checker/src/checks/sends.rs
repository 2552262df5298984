//! Do a producer's records of one key stand in the log in the order it sent them?

use std::collections::BTreeMap;

use crate::anomaly::{Anomaly, AnomalyName};
use crate::promises::Promises;
use crate::view::{Place, Sent, View};

/// Producer, topic and key: what stays in order together.
type Stream<'h> = (&'h str, &'h str, &'h str);

pub(super) fn check(view: &View<'_>, promises: &Promises) -> Vec<Anomaly> {
    if !promises.ordered_sends {
        return Vec::new();
    }
    let mut streams: BTreeMap<Stream<'_>, Vec<(Sent<'_>, Place<'_>)>> = BTreeMap::new();
    for facts in view.records.values() {
        if let (Some(sent), Some(place)) = (facts.sent, facts.acked) {
            let stream = (sent.note.by, sent.topic, sent.key);
            streams.entry(stream).or_default().push((sent, place));
        }
    }
    let mut found = Vec::new();
    for ((by, _, key), mut sends) in streams {
        sends.sort_by_key(|(sent, _)| sent.note.index);
        for pair in sends.windows(2) {
            let ((first, at), (second, then)) = (pair[0], pair[1]);
            if at.partition != then.partition || at.offset < then.offset {
                continue;
            }
            let name = match first.batch == second.batch {
                true => AnomalyName::InternalNonmonotonicSend,
                false => AnomalyName::NonmonotonicSend,
            };
            let text = format!(
                "{by} sent key {key} seq {} before seq {}, and they stand at {at} and {then}",
                first.seq, second.seq
            );
            found.push(Anomaly::new(name, text));
        }
    }
    found
}
