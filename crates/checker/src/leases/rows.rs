//! Did a sink take what it had to refuse, was each unit of work done once, and do notes and rows agree?

use std::collections::{BTreeMap, BTreeSet};

use super::history::{LeaseHistory, LeaseNote, LeaseRow, Write};
use crate::anomaly::{Anomaly, AnomalyName};

pub(super) fn check(history: &LeaseHistory) -> Vec<Anomaly> {
    let mut by_lease: BTreeMap<(&str, &str), Vec<&LeaseRow>> = BTreeMap::new();
    for row in &history.finals.rows {
        by_lease.entry((&row.sink, &row.lease)).or_default().push(row);
    }
    let mut found = Vec::new();
    for rows in by_lease.values_mut() {
        rows.sort_by_key(|row| row.position);
        found.extend(stale(rows));
        found.extend(shared(rows));
        found.extend(interleaved(rows));
        found.extend(doubled(rows));
    }
    found.extend(unseen(history));
    found.extend(notes_disagree(history));
    found
}

/// A write under a token that is lower than one the sink has taken before: its holder was a zombie.
fn stale(rows: &[&LeaseRow]) -> Vec<Anomaly> {
    let mut found = Vec::new();
    let mut highest: Option<&LeaseRow> = None;
    for row in rows {
        match highest {
            Some(before) if row.token < before.token => {
                let text = format!("{} after {}", told(row), told(before));
                found.push(Anomaly::new(AnomalyName::StaleToken, text));
            }
            _ => highest = Some(row),
        }
    }
    found
}

/// One token, two holders.
fn shared(rows: &[&LeaseRow]) -> Vec<Anomaly> {
    let mut owners: BTreeMap<i64, &LeaseRow> = BTreeMap::new();
    let mut found = Vec::new();
    for row in rows {
        let owner = *owners.entry(row.token).or_insert(row);
        if owner.holder != row.holder {
            let text = format!("{} and {}", told(owner), told(row));
            found.push(Anomaly::new(AnomalyName::SharedToken, text));
        }
    }
    found
}

/// Between two writes under one token stands one under another.
fn interleaved(rows: &[&LeaseRow]) -> Vec<Anomaly> {
    let mut closed: BTreeSet<i64> = BTreeSet::new();
    let mut found = Vec::new();
    for pair in rows.windows(2) {
        let [before, after] = pair else { continue };
        if before.token == after.token {
            continue;
        }
        closed.insert(before.token);
        if closed.contains(&after.token) {
            let text =
                format!("{} interrupts the writes that {} goes on with", told(before), told(after));
            found.push(Anomaly::new(AnomalyName::InterleavedTokens, text));
        }
    }
    found
}

fn doubled(rows: &[&LeaseRow]) -> Vec<Anomaly> {
    let mut first: BTreeMap<u64, &LeaseRow> = BTreeMap::new();
    let mut found = Vec::new();
    for row in rows {
        let before = *first.entry(row.unit).or_insert(row);
        if before.position != row.position {
            let text = format!("{}, and again {}", told(before), told(row));
            found.push(Anomaly::new(AnomalyName::DoubleEffect, text));
        }
    }
    found
}

/// Asked for, and nowhere.
fn unseen(history: &LeaseHistory) -> Vec<Anomaly> {
    let rows = history.finals.rows.iter();
    let there: BTreeSet<(&str, &str, u64)> =
        rows.map(|row| (row.sink.as_str(), row.lease.as_str(), row.unit)).collect();
    let asked = history.finals.asked.iter();
    asked
        .filter(|unit| !there.contains(&(unit.sink.as_str(), unit.lease.as_str(), unit.unit)))
        .map(|unit| {
            let text = format!("unit {} of {} is not in {}", unit.unit, unit.lease, unit.sink);
            Anomaly::new(AnomalyName::Unseen, text)
        })
        .collect()
}

/// What was committed is there, what was refused is not, and nothing is there that nobody began.
fn notes_disagree(history: &LeaseHistory) -> Vec<Anomaly> {
    let rows = history.finals.rows.iter();
    let rows: BTreeSet<(&str, Write)> = rows
        .map(|row| {
            let LeaseRow { sink, lease, token, unit, .. } = row.clone();
            (row.holder.as_str(), Write { sink, lease, token, unit: Some(unit) })
        })
        .collect();
    let mut begun: BTreeSet<(&str, &Write)> = BTreeSet::new();
    let mut found = Vec::new();
    for event in &history.events {
        let key = |write: &Write| (event.by.as_str(), write.clone());
        match &event.what {
            LeaseNote::Begun { write, .. } => {
                begun.insert((&event.by, write));
            }
            LeaseNote::Committed(write) if write.unit.is_some() && !rows.contains(&key(write)) => {
                let text =
                    format!("{} was told that it had {write:?}, which is not there", event.by);
                found.push(Anomaly::new(AnomalyName::LostWrite, text));
            }
            LeaseNote::Refused(write) if rows.contains(&key(write)) => {
                let text = format!("{} was refused {write:?}, which is there", event.by);
                found.push(Anomaly::new(AnomalyName::RefusedWrite, text));
            }
            LeaseNote::Granted(_)
            | LeaseNote::Committed(_)
            | LeaseNote::Refused(_)
            | LeaseNote::Unknown(_)
            | LeaseNote::Lost { .. }
            | LeaseNote::Releasing { .. }
            | LeaseNote::Stopped { .. }
            | LeaseNote::Continued { .. }
            | LeaseNote::Ended { .. }
            | LeaseNote::Forgot
            | LeaseNote::Deposed => {}
        }
    }
    for (holder, write) in &rows {
        if !begun.contains(&(*holder, write)) {
            let text = format!("{holder} never began {write:?}, which is there");
            found.push(Anomaly::new(AnomalyName::EffectWithoutRecord, text));
        }
    }
    found
}

fn told(row: &LeaseRow) -> String {
    let LeaseRow { sink, position, lease, unit, token, holder } = row;
    format!(
        "{holder} wrote unit {unit} of {lease} into {sink} under token {token} (position {position})"
    )
}
