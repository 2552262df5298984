//! Do the records that effects emit through the outbox reach their topic, all of them, no others, in order?
//!
//! The row of the effect and the row in the outbox are one commit. A record on the topic without its effect was
//! published before a commit that never came; an effect without its record was forgotten by the relay.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::anomaly::{Anomaly, AnomalyName};
use crate::history::{EffectRow, LogRecord};
use crate::promises::{Order, Promises};
use crate::view::View;

pub(super) fn check(view: &View<'_>, promises: &Promises) -> Vec<Anomaly> {
    let finals = &view.history.finals;
    let (Some(rows), Some(log)) = (&finals.effects, &finals.emitted) else { return Vec::new() };
    let committed: BTreeSet<Uuid> = rows.iter().filter_map(|row| row.emitted).collect();
    let published: BTreeSet<Uuid> = log.iter().map(|record| record.id).collect();
    let mut found = Vec::new();
    for record in log.iter().filter(|record| !committed.contains(&record.id)) {
        let LogRecord { topic, partition, offset, id } = record;
        let text = format!("{id} at {topic}/{partition}/{offset} belongs to no committed effect");
        found.push(Anomaly::new(AnomalyName::AbortedRead, text));
    }
    for row in rows {
        if let Some(emitted) = row.emitted.filter(|emitted| !published.contains(emitted)) {
            let text =
                format!("{emitted}, emitted by the effect of {}, was never published", row.id);
            found.push(Anomaly::new(AnomalyName::LostWrite, text));
        }
    }
    if promises.order == Order::Key {
        found.extend(out_of_order(view, rows, log));
    }
    found
}

/// First appearances of what one key's effects emitted must stand in the order of the effects.
fn out_of_order(view: &View<'_>, rows: &[EffectRow], log: &[LogRecord]) -> Vec<Anomaly> {
    let mut places: BTreeMap<Uuid, (i32, i64)> = BTreeMap::new();
    for record in log {
        let place = (record.partition, record.offset);
        let first = places.entry(record.id).or_insert(place);
        *first = place.min(*first);
    }
    let mut rows: Vec<&EffectRow> = rows.iter().collect();
    rows.sort_by_key(|row| row.position);
    let mut last: BTreeMap<&str, (i32, i64)> = BTreeMap::new();
    let mut found = Vec::new();
    for row in rows {
        let key = view.records.get(&row.id).and_then(|facts| facts.sent).map(|sent| sent.key);
        let place = row.emitted.and_then(|emitted| places.get(&emitted).copied());
        let (Some(key), Some(place)) = (key, place) else { continue };
        let before = last.insert(key, place);
        if before.is_some_and(|before| before.0 == place.0 && before.1 > place.1) {
            let text = format!("key {key}: what the effect of {} emitted stands too early", row.id);
            found.push(Anomaly::new(AnomalyName::OrderPerKey, text));
        }
    }
    found
}
