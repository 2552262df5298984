//! One planted anomaly for each name of the leases, in histories that were clean before.

use millrace_checker::leases::{
    Grant, LeaseFinals, LeaseHistory, LeaseNote, LeasePromises, LeaseRow, Unit, Write, check,
};
use millrace_checker::{AnomalyName, Event};
use proptest::prelude::*;

use crate::right::Dice;

const PROMISES: LeasePromises = LeasePromises { cancelled_within_us: 500_000 };
const LASTS_US: i64 = 600_000;
const SINKS: [&str; 2] = ["effects", "register"];
/// Above every token of a right history.
const HIGH: i64 = 1 << 40;

const NAMES: [AnomalyName; 11] = [
    AnomalyName::StaleToken,
    AnomalyName::SharedToken,
    AnomalyName::InterleavedTokens,
    AnomalyName::DoubleEffect,
    AnomalyName::Unseen,
    AnomalyName::LostWrite,
    AnomalyName::RefusedWrite,
    AnomalyName::EffectWithoutRecord,
    AnomalyName::NonmonotonicGrant,
    AnomalyName::EarlyGrant,
    AnomalyName::WorkAfterLoss,
];

#[derive(Debug, Clone, Copy)]
struct Plan {
    leases: usize,
    turns: u64,
    seed: u64,
}

/// Holders in turn: some give the lease back, some are frozen past its end and refused when they go on, and sometimes the
/// referee forgets and the next token is of a new incarnation.
struct Maker {
    dice: Dice,
    at_us: i64,
    events: Vec<Event<LeaseNote>>,
    finals: LeaseFinals,
}

impl Maker {
    fn note(&mut self, by: &str, what: LeaseNote) {
        self.at_us += 1 + i64::try_from(self.dice.below(20_000)).unwrap();
        self.events.push(Event { at_us: self.at_us, by: by.into(), what });
    }

    fn write(&mut self, holder: &str, sink: &str, lease: &str, token: i64, unit: u64) {
        let write = Write { sink: sink.into(), lease: lease.into(), token, unit: Some(unit) };
        self.note(holder, LeaseNote::Begun { write: write.clone(), guarded: true });
        let position = i64::try_from(self.finals.rows.len()).unwrap();
        let (sink, lease) = (sink.to_owned(), lease.to_owned());
        let row = LeaseRow { sink, position, lease, unit, token, holder: holder.into() };
        self.finals.rows.push(row);
        // A killed process misses this note; the row stands all the same.
        if self.dice.below(8) > 0 {
            self.note(holder, LeaseNote::Committed(write));
        }
    }

    fn turn(&mut self, lease: &str, token: i64, unit: &mut u64) {
        let holder = format!("h{}", self.dice.below(4));
        let asked_us = self.at_us;
        let grant = Grant { lease: lease.into(), token, asked_us, lasts_us: LASTS_US };
        self.note(&holder, LeaseNote::Granted(grant));
        for _ in 0..1 + self.dice.below(3) {
            for sink in SINKS {
                self.write(&holder, sink, lease, token, *unit);
            }
            self.finals.asked.push(Unit {
                sink: SINKS[0].into(),
                lease: lease.into(),
                unit: *unit,
            });
            *unit += 1;
        }
        match self.dice.below(4) {
            0 => self.zombie(&holder, lease, token, unit),
            1 => {
                self.note("conductor", LeaseNote::Forgot);
                self.note(&holder, LeaseNote::Lost { lease: lease.into(), token });
            }
            _ => self.note(&holder, LeaseNote::Releasing { lease: lease.into(), token }),
        }
    }

    /// Frozen past the lease; what it begins after its thaw is refused, because another one has written.
    fn zombie(&mut self, holder: &str, lease: &str, token: i64, unit: &mut u64) {
        self.note("conductor", LeaseNote::Stopped { holder: holder.into() });
        self.at_us += LASTS_US;
        let (later, asked_us) = (token + 1, self.at_us);
        let grant = Grant { lease: lease.into(), token: later, asked_us, lasts_us: LASTS_US };
        self.note("other", LeaseNote::Granted(grant));
        self.write("other", SINKS[0], lease, later, *unit);
        self.finals.asked.push(Unit { sink: SINKS[0].into(), lease: lease.into(), unit: *unit });
        *unit += 1;
        self.note("other", LeaseNote::Releasing { lease: lease.into(), token: later });
        self.note("conductor", LeaseNote::Continued { holder: holder.into() });
        let write = Write { sink: SINKS[0].into(), lease: lease.into(), token, unit: Some(*unit) };
        self.note(holder, LeaseNote::Begun { write: write.clone(), guarded: true });
        self.note(holder, LeaseNote::Refused(write));
        self.note(holder, LeaseNote::Lost { lease: lease.into(), token });
    }
}

fn history(plan: Plan) -> LeaseHistory {
    let finals = LeaseFinals { runs: plan.leases, ..LeaseFinals::default() };
    let mut maker = Maker { dice: Dice::new(plan.seed), at_us: 0, events: Vec::new(), finals };
    for number in 0..plan.leases {
        let (lease, mut unit) = (format!("work-{number}"), 0);
        for turn in 0..plan.turns {
            let token = (1 << 32) + i64::try_from(turn).unwrap() * 2;
            maker.turn(&lease, token, &mut unit);
        }
    }
    LeaseHistory::new(maker.events, maker.finals)
}

fn plant(name: AnomalyName, history: &mut LeaseHistory, dice: &mut Dice) {
    let end_us = history.events.last().unwrap().at_us;
    let rows = &mut history.finals.rows;
    let chosen = usize::try_from(dice.below(u64::try_from(rows.len()).unwrap())).unwrap();
    let row = rows[chosen].clone();
    let last = i64::try_from(rows.len()).unwrap();
    let holder = row.holder.clone();
    let (sink, lease, token, unit) =
        (row.sink.clone(), row.lease.clone(), row.token, Some(row.unit));
    let write = Write { sink, lease: lease.clone(), token, unit };
    let grant =
        |token, asked_us| Grant { lease: lease.clone(), token, asked_us, lasts_us: LASTS_US };
    let mut note = |at_us, by: &str, what| {
        history.events.push(Event { at_us: end_us + at_us, by: by.into(), what });
    };
    match name {
        AnomalyName::StaleToken => {
            rows.push(LeaseRow { position: last, unit: 900, token: HIGH, ..row.clone() });
            rows.push(LeaseRow { position: last + 1, unit: 901, ..row });
        }
        AnomalyName::SharedToken if dice.below(2) == 0 => {
            rows.push(LeaseRow { position: last, unit: 900, holder: "thief".into(), ..row });
        }
        AnomalyName::SharedToken => {
            note(1, "ann", LeaseNote::Granted(grant(HIGH, end_us)));
            note(2, "ben", LeaseNote::Granted(grant(HIGH, end_us)));
        }
        AnomalyName::InterleavedTokens => {
            for (step, token) in [HIGH, HIGH + 1, HIGH].into_iter().enumerate() {
                let step = i64::try_from(step).unwrap();
                let unit = 900 + step.unsigned_abs();
                rows.push(LeaseRow { position: last + step, unit, token, ..row.clone() });
            }
        }
        AnomalyName::DoubleEffect => rows.push(LeaseRow { position: last, ..row }),
        AnomalyName::Unseen => {
            history.finals.asked.push(Unit { sink: SINKS[0].into(), lease, unit: 900 });
        }
        AnomalyName::LostWrite => {
            note(1, &holder, LeaseNote::Committed(Write { unit: Some(900), ..write }));
        }
        AnomalyName::RefusedWrite => note(1, &holder, LeaseNote::Refused(write)),
        AnomalyName::EffectWithoutRecord => {
            rows.push(LeaseRow { position: last, unit: 900, token: HIGH, ..row });
        }
        AnomalyName::NonmonotonicGrant => {
            note(1, "ann", LeaseNote::Granted(grant(HIGH, end_us)));
            note(LASTS_US, "ben", LeaseNote::Granted(grant(HIGH - 1, end_us + 2)));
        }
        AnomalyName::EarlyGrant => {
            note(1, "ann", LeaseNote::Granted(grant(HIGH, end_us)));
            let early = i64::try_from(dice.below(LASTS_US.unsigned_abs() - 2)).unwrap();
            note(2 + early, "ben", LeaseNote::Granted(grant(HIGH + 1, end_us + 2)));
        }
        AnomalyName::WorkAfterLoss => {
            note(1, "ben", LeaseNote::Granted(grant(HIGH, end_us)));
            let late = PROMISES.cancelled_within_us + 2;
            note(late, &holder, LeaseNote::Begun { write, guarded: true });
        }
        other => panic!("{other} is not one of leases"),
    }
}

fn found(name: AnomalyName, plan: Plan, seed: u64) {
    let mut history = history(plan);
    let clean = check(&history, &PROMISES);
    assert!(clean.ok(), "{clean}");
    plant(name, &mut history, &mut Dice::new(seed));
    let report = check(&history, &PROMISES);
    assert!(report.has(name), "{name} is not in: {report}");
    assert!(report.verdict(4).contains(name.as_str()), "{}", report.verdict(4));
}

#[test]
fn every_name_is_found_where_it_is_planted() {
    for name in NAMES {
        for seed in 0..20 {
            found(name, Plan { leases: 2, turns: 4, seed }, seed + 1);
        }
    }
}

#[test]
fn the_verdict_says_how_often_a_sink_refused() {
    let history = history(Plan { leases: 3, turns: 20, seed: 8 });
    let report = check(&history, &PROMISES);
    let ledger = report.ledger;
    let count = |wanted: fn(&LeaseNote) -> bool| {
        history.events.iter().filter(|event| wanted(&event.what)).count()
    };
    assert_eq!(ledger.runs, 3);
    assert_eq!(ledger.effects, history.finals.asked.len());
    assert_eq!(ledger.refused, count(|what| matches!(what, LeaseNote::Refused(_))));
    assert_eq!(ledger.grants, count(|what| matches!(what, LeaseNote::Granted(_))));
    assert!(ledger.refused > 0);
    let verdict = report.verdict(8);
    assert!(verdict.starts_with("verdict: ok, runs=3 grants="), "{verdict}");
    assert!(verdict.ends_with(" doubles=0 seed=8"), "{verdict}");
}

/// What is no anomaly: each differs by one circumstance from one that is.
#[test]
fn what_has_an_excuse_is_not_called_broken() {
    let grant = |token, asked_us| {
        let lease = "work-0".to_owned();
        LeaseNote::Granted(Grant { lease, token, asked_us, lasts_us: LASTS_US })
    };
    let begun = |guarded| LeaseNote::Begun {
        write: Write { sink: SINKS[0].into(), lease: "work-0".into(), token: 1, unit: None },
        guarded,
    };
    let releasing = LeaseNote::Releasing { lease: "work-0".into(), token: 1 };
    let thawed = LeaseNote::Continued { holder: "ann".into() };
    let end = 2 * LASTS_US;
    let right: [Vec<(i64, &str, LeaseNote)>; 6] = [
        // Given back; forgotten; over.
        vec![(1, "ann", grant(1, 0)), (2, "ann", releasing), (3, "ben", grant(2, 2))],
        vec![(1, "ann", grant(1, 0)), (2, "c", LeaseNote::Forgot), (3, "ben", grant(2, 2))],
        vec![(1, "ann", grant(1, 0)), (LASTS_US, "ben", grant(2, 2))],
        // A replaced primary; granted before the other one, and frozen before it was noted.
        vec![(0, "c", LeaseNote::Deposed), (1, "ann", grant(2, 0)), (end, "ben", grant(1, 2))],
        vec![(LASTS_US, "ann", grant(2, LASTS_US)), (end, "ben", grant(1, 0))],
        // A packet that is late, and a process that was let go on just now.
        vec![
            (1, "ann", grant(1, 0)),
            (LASTS_US, "ben", grant(2, 2)),
            (9 * LASTS_US, "ann", begun(false)),
            (10 * LASTS_US, "c", thawed),
            (10 * LASTS_US + 9, "ann", begun(true)),
        ],
    ];
    for notes in right {
        let event =
            |(at_us, by, what): (i64, &str, LeaseNote)| Event { at_us, by: by.into(), what };
        let events = notes.into_iter().map(event).collect();
        let history = LeaseHistory::new(events, LeaseFinals::default());
        let report = check(&history, &PROMISES);
        assert!(report.ok(), "{report}{:?}", history.events);
    }
}

proptest! {
    #[test]
    fn a_right_history_of_leases_is_clean_and_one_thing_wrong_is_found(
        (leases, turns, seed) in (1_usize..4, 1_u64..12, any::<u64>()),
        name in prop::sample::select(NAMES.to_vec()),
    ) {
        found(name, Plan { leases, turns, seed }, seed);
    }

    #[test]
    fn a_history_of_leases_written_to_a_file_is_judged_the_same(seed in any::<u64>()) {
        let history = history(Plan { leases: 2, turns: 5, seed });
        let line = |event| serde_json::to_string(event).unwrap() + "\n";
        let lines: String = history.events.iter().map(line).collect();
        let read = Event::read_all(&lines).unwrap();
        prop_assert_eq!(LeaseHistory::new(read, history.finals.clone()), history);
    }
}
