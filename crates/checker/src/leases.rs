//! A judge of leases: what holders noted, and what stands in the sinks that they wrote to.
//!
//! The promise is the sink's, not the lease's: two holders may overlap, and both may believe that they are alone. What
//! must not happen is that a sink takes a write of the earlier one after one of the later one, because then work is done
//! twice or on what is no longer true. So the rows in the order in which a sink took them are what is judged first.
//! Notes add what no row can show: who was granted which token, whether a lease was given to somebody else before its
//! time, and whether work that lost its lease went on.

mod grants;
mod history;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use history::{
    Grant, LeaseFinals, LeaseHistory, LeaseNote, LeasePromises, LeaseRow, Unit, Write,
};

use crate::anomaly::Anomaly;
use crate::report::Report;

/// The sums of one run of a lease drill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaseLedger {
    /// Races for one lease.
    pub runs: usize,
    /// Leases that were granted.
    pub grants: usize,
    /// Units of work that took effect.
    pub effects: usize,
    /// Writes that a sink refused.
    pub refused: usize,
    /// Leases whose holders learned that they had lost them.
    pub lost: usize,
    /// Effects beyond the first of their unit.
    pub doubles: usize,
}

/// Judges a history of leases.
#[must_use]
pub fn check(history: &LeaseHistory, promises: &LeasePromises) -> Report<LeaseLedger> {
    let mut anomalies: Vec<Anomaly> = rows::check(history);
    anomalies.extend(grants::check(history, promises));
    Report { anomalies, ledger: LeaseLedger::of(history) }
}

impl LeaseLedger {
    fn of(history: &LeaseHistory) -> Self {
        let LeaseHistory { events, finals } = history;
        let mut ledger = Self { runs: finals.runs, ..Self::default() };
        for event in events {
            match &event.what {
                LeaseNote::Granted(_) => ledger.grants += 1,
                LeaseNote::Refused(_) => ledger.refused += 1,
                LeaseNote::Lost { .. } => ledger.lost += 1,
                LeaseNote::Begun { .. }
                | LeaseNote::Committed(_)
                | LeaseNote::Unknown(_)
                | LeaseNote::Releasing { .. }
                | LeaseNote::Stopped { .. }
                | LeaseNote::Continued { .. }
                | LeaseNote::Ended { .. }
                | LeaseNote::Forgot
                | LeaseNote::Deposed => {}
            }
        }
        let asked: BTreeSet<&str> = finals.asked.iter().map(|unit| unit.sink.as_str()).collect();
        let mut times: BTreeMap<(&str, u64), usize> = BTreeMap::new();
        for row in finals.rows.iter().filter(|row| asked.contains(row.sink.as_str())) {
            *times.entry((&row.lease, row.unit)).or_default() += 1;
        }
        ledger.effects = times.len();
        ledger.doubles = times.values().map(|count| count - 1).sum();
        ledger
    }
}

impl fmt::Display for LeaseLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, grants, effects, refused, lost, doubles } = self;
        write!(
            f,
            "runs={runs} grants={grants} effects={effects} refused={refused} lost={lost} doubles={doubles}"
        )
    }
}
