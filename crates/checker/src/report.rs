//! The judgement: every check run over one history, the sums, and one line that says it all.

use std::collections::BTreeMap;
use std::fmt;

use crate::anomaly::{Anomaly, AnomalyName};
use crate::checks;
use crate::history::History;
use crate::promises::Promises;
use crate::view::View;

/// Anomalies of one name that a report prints; the rest is only counted.
const SHOWN_PER_NAME: usize = 5;

/// The sums of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Records that reached the log.
    pub sent: usize,
    /// Records that took effect.
    pub done: usize,
    /// Records that were given up.
    pub dead: usize,
    /// Records that took effect and were given up.
    pub both: usize,
    /// Effects beyond the first of their record.
    pub repeats: usize,
    /// Members that were stopped past their session or told that a partition had been taken.
    pub zombies: usize,
}

/// What was found; `L` are the sums of what was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<L = Ledger> {
    /// Every finding.
    pub anomalies: Vec<Anomaly>,
    /// The sums.
    pub ledger: L,
}

/// Judges a history by the promises that were made.
#[must_use]
pub fn check(history: &History, promises: &Promises) -> Report {
    let view = View::of(history);
    let anomalies = checks::ALL.iter().flat_map(|check| check(&view, promises)).collect();
    Report { anomalies, ledger: Ledger::of(&view) }
}

impl Ledger {
    fn of(view: &View<'_>) -> Self {
        let mut ledger = Self { zombies: view.zombies.len(), ..Self::default() };
        for facts in view.records.values() {
            let effects = view.effects(facts);
            ledger.sent += usize::from(facts.sent.is_some() && facts.written());
            ledger.done += usize::from(effects > 0);
            ledger.dead += usize::from(facts.dead());
            ledger.both += usize::from(effects > 0 && facts.dead());
            ledger.repeats += effects.saturating_sub(1);
        }
        ledger
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, done, dead, both, repeats, zombies } = self;
        write!(
            f,
            "sent={sent} done={done} dead={dead} both={both} repeats={repeats} zombies={zombies}"
        )
    }
}

impl<L> Report<L> {
    /// True when nothing was found.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.anomalies.is_empty()
    }

    /// How often each name was found.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<AnomalyName, usize> {
        let mut counts = BTreeMap::new();
        for anomaly in &self.anomalies {
            *counts.entry(anomaly.name).or_default() += 1;
        }
        counts
    }

    /// True when there is a finding of this name.
    #[must_use]
    pub fn has(&self, name: AnomalyName) -> bool {
        self.anomalies.iter().any(|anomaly| anomaly.name == name)
    }

    /// `ok`, or what is broken and how often.
    #[must_use]
    pub fn word(&self) -> String {
        if self.ok() {
            return "ok".to_owned();
        }
        let counts = self.counts();
        let found: Vec<String> =
            counts.iter().map(|(name, count)| format!("{name} x{count}")).collect();
        format!("broken ({})", found.join(", "))
    }
}

impl<L: fmt::Display> Report<L> {
    /// The last line of a drill.
    #[must_use]
    pub fn verdict(&self, seed: u64) -> String {
        format!("verdict: {}, {} seed={seed}", self.word(), self.ledger)
    }
}

/// The findings, a few of each name, without the verdict.
impl<L> fmt::Display for Report<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in self.counts() {
            let all = self.anomalies.iter().filter(|anomaly| anomaly.name == name);
            for anomaly in all.take(SHOWN_PER_NAME) {
                writeln!(f, "{anomaly}")?;
            }
            if let Some(rest) = count.checked_sub(SHOWN_PER_NAME).filter(|rest| *rest > 0) {
                writeln!(f, "{name}: {rest} more")?;
            }
        }
        Ok(())
    }
}
