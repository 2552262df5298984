//! Is the log what its producers were told it is? One record a place, one place a record, nothing missing, and
//! nothing that was called off.

use crate::anomaly::{Anomaly, AnomalyName};
use crate::promises::Promises;
use crate::view::View;

pub(super) fn check(view: &View<'_>, promises: &Promises) -> Vec<Anomaly> {
    let mut found = Vec::new();
    for (place, ids) in &view.places {
        if ids.len() > 1 {
            let (topic, partition) = place.partition;
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            let text =
                format!("{topic}/{partition}/{} was seen as {}", place.offset, ids.join(" and "));
            found.push(Anomaly::new(AnomalyName::InconsistentOffset, text));
        }
    }
    let read = view.history.finals.log.is_some();
    for (id, facts) in &view.records {
        if facts.log.len() > 1 && promises.unique_in_log {
            let places: Vec<String> = facts.log.iter().map(ToString::to_string).collect();
            let text = format!("{id} stands at {}", places.join(" and at "));
            found.push(Anomaly::new(AnomalyName::Duplicate, text));
        }
        if let Some(place) = facts.acked
            && read
            && facts.log.is_empty()
            && promises.at_least_once
        {
            let text = format!("{id} was acknowledged at {place} and is not in the log");
            found.push(Anomaly::new(AnomalyName::LostWrite, text));
        }
        if facts.send_failed && (facts.written() || view.effects(facts) > 0) {
            let text = format!("{id} was not written for certain, and was read");
            found.push(Anomaly::new(AnomalyName::AbortedRead, text));
        }
    }
    found
}
