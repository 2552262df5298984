//! A judge of schedules: was every occurrence dispatched once, and did it take effect once?
//!
//! Nothing is noted while it happens: every question here is answered by rows, which a kill can't take away.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::anomaly::{Anomaly, AnomalyName};
use crate::report::Report;

/// One instant of one task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OccurrenceId {
    /// The task.
    pub task: String,
    /// The instant, in milliseconds since 1970.
    pub instant_ms: i64,
}

/// What the stores hold when all is over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OccurrenceHistory {
    /// What had to happen.
    pub due: Vec<OccurrenceId>,
    /// The history's rows, with whether they ended well.
    pub occurrences: Vec<(OccurrenceId, bool)>,
    /// One entry for each message that was appended, with the attempt that it begins.
    pub dispatches: Vec<(OccurrenceId, i32)>,
    /// One entry for each effect.
    pub effects: Vec<OccurrenceId>,
}

/// The sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OccurrenceLedger {
    /// Occurrences that were dispatched.
    pub occurrences: usize,
    /// Messages that began an attempt.
    pub dispatches: usize,
    /// Occurrences that took effect.
    pub fired: usize,
    /// Effects beyond the first of their occurrence.
    pub repeats: usize,
}

/// Judges what became of the occurrences.
#[must_use]
pub fn check(history: &OccurrenceHistory) -> Report<OccurrenceLedger> {
    let mut anomalies = Vec::new();
    let mut find = |name, text| anomalies.push(Anomaly::new(name, text));
    let ended: BTreeMap<&OccurrenceId, bool> =
        history.occurrences.iter().map(|(id, done)| (id, *done)).collect();
    let (dispatches, effects) = (count(history.dispatches.iter()), count(history.effects.iter()));
    let begun: BTreeSet<&OccurrenceId> = history.dispatches.iter().map(|(id, _)| id).collect();
    for id in &history.due {
        match ended.get(id) {
            None => find(AnomalyName::LostOccurrence, format!("{id} was due and never taken up")),
            Some(false) => find(AnomalyName::Unseen, format!("{id} was not done")),
            Some(true) => {}
        }
    }
    for ((id, attempt), times) in &dispatches {
        if *times > 1 {
            find(
                AnomalyName::DoubleDispatch,
                format!("{id} was dispatched {times} times, attempt {attempt}"),
            );
        }
    }
    for (id, times) in &effects {
        if *times > 1 {
            find(AnomalyName::DoubleEffect, format!("{id} took effect {times} times"));
        }
        if !begun.contains(id) {
            find(
                AnomalyName::EffectWithoutRecord,
                format!("{id} took effect and was never dispatched"),
            );
        }
        if ended.get(id) != Some(&true) {
            find(AnomalyName::HalfCommit, format!("{id} took effect and is not done"));
        }
    }
    for (id, done) in &history.occurrences {
        if *done && !effects.contains_key(id) {
            find(AnomalyName::LostWrite, format!("{id} is done and took no effect"));
        }
    }
    let ledger = OccurrenceLedger {
        occurrences: begun.len(),
        dispatches: history.dispatches.len(),
        fired: effects.len(),
        repeats: effects.values().map(|times| times - 1).sum(),
    };
    Report { anomalies, ledger }
}

fn count<T: Ord>(all: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    all.fold(BTreeMap::new(), |mut counts, one| {
        *counts.entry(one).or_default() += 1;
        counts
    })
}

impl fmt::Display for OccurrenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.task, self.instant_ms)
    }
}

impl fmt::Display for OccurrenceLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { occurrences, dispatches, fired, repeats } = self;
        write!(
            f,
            "occurrences={occurrences} dispatches={dispatches} fired={fired} repeats={repeats}"
        )
    }
}
