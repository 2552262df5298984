//! What was measured, as a table for people and as JSON for machines.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::machine::Quiet;
use crate::statistics::Spread;

/// Where a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// So much or more.
    AtLeast(f64),
    /// So much or less.
    AtMost(f64),
}

impl Goal {
    fn met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(bound) => format!(">= {bound}"),
            Self::AtMost(bound) => format!("<= {bound}"),
        }
    }
}

/// One measured thing with a sample from each round.
#[derive(Debug, Clone)]
pub struct Figure {
    /// `intake.ratio`: stable, for machines.
    pub name: String,
    /// `ratio`, `ms`, `records/s`.
    pub unit: &'static str,
    /// Where its median should be.
    pub goal: Option<Goal>,
    /// One of each round.
    pub samples: Vec<f64>,
    /// The promise that was broken while it was measured: then it is no figure.
    pub void: Option<String>,
    /// Share of the machine that others took meanwhile.
    pub foreign_share: f64,
}

impl Figure {
    /// A figure without a goal.
    pub fn new(name: impl Into<String>, unit: &'static str, samples: Vec<f64>) -> Self {
        let name = name.into();
        Self { name, unit, goal: None, samples, void: None, foreign_share: 0.0 }
    }

    /// A measurement that came to no end.
    pub fn broken(name: impl Into<String>, problem: String) -> Self {
        Self { void: Some(problem), ..Self::new(name, "", Vec::new()) }
    }

    /// Says where it should be.
    #[must_use]
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    /// All figures of a section stand and fall with its promise.
    pub fn void_all(figures: &mut [Self], promise: &Result<(), String>) {
        for figure in figures {
            figure.void = promise.as_ref().err().cloned();
        }
    }

    fn verdict(&self) -> &'static str {
        match (&self.void, self.goal, Spread::of(&self.samples)) {
            (Some(_), ..) | (None, _, None) => "void",
            (None, None, Some(_)) => "",
            (None, Some(goal), Some(spread)) if goal.met_by(spread.median) => "met",
            (None, Some(_), Some(_)) => "missed",
        }
    }

    fn json(&self) -> Value {
        let spread = Spread::of(&self.samples);
        let void = self.verdict() == "void";
        json!({
            "name": self.name,
            "unit": self.unit,
            "goal": self.goal.map(Goal::text),
            "median": spread.filter(|_| !void).map(|spread| spread.median),
            "low": spread.filter(|_| !void).map(|spread| spread.low),
            "high": spread.filter(|_| !void).map(|spread| spread.high),
            "samples": if void { Vec::new() } else { self.samples.clone() },
            "verdict": self.verdict(),
            "void": self.void,
            "foreign_share": self.foreign_share,
        })
    }
}

/// The whole run.
#[derive(Debug)]
pub struct Report {
    /// The seed that decided the order.
    pub seed: u64,
    /// The rounds of each measurement.
    pub rounds: u16,
    /// What the machine did before.
    pub quiet: Quiet,
    /// Everything that was measured, in order.
    pub figures: Vec<Figure>,
}

impl Report {
    /// True when a promise was broken. A missed goal is none.
    #[must_use]
    pub fn broken(&self) -> bool {
        self.figures.iter().any(|figure| figure.verdict() == "void")
    }

    /// For machines.
    #[must_use]
    pub fn json(&self) -> String {
        let figures: Vec<Value> = self.figures.iter().map(Figure::json).collect();
        let report = json!({
            "seed": self.seed,
            "rounds": self.rounds,
            "machine": self.quiet,
            "figures": figures,
        });
        format!("{report:#}")
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = self.head();
        line(&mut text, ["figure", "median", "low .. high", "unit", "goal", "", "others"]);
        for figure in &self.figures {
            let spread = Spread::of(&figure.samples).filter(|_| figure.void.is_none());
            let median = spread.map_or_else(String::new, |spread| number(spread.median));
            let ends = spread.map_or_else(String::new, |spread| {
                format!("{} .. {}", number(spread.low), number(spread.high))
            });
            let goal = figure.goal.map(Goal::text).unwrap_or_default();
            let others = format!("{:.0} %", figure.foreign_share * 100.0);
            let name = figure.name.as_str();
            line(&mut text, [name, &median, &ends, figure.unit, &goal, figure.verdict(), &others]);
        }
        let mut told = Vec::new();
        for promise in self.figures.iter().filter_map(|figure| figure.void.as_ref()) {
            if !told.contains(&promise) {
                text.push_str(&format!("void: {promise}\n"));
                told.push(promise);
            }
        }
        text
    }

    fn head(&self) -> String {
        let Quiet { cores, busy_share, quiet } = self.quiet;
        let state = if quiet { "quiet" } else { "BUSY, so the figures are worth little" };
        format!(
            "seed {}, {} rounds, median and smallest .. largest of the rounds\n\
             {cores} cores, {:.0} % in use before the run: {state}; others = share of the machine that other programs \
             took meanwhile\n\n",
            self.seed,
            self.rounds,
            busy_share * 100.0,
        )
    }
}

fn line(text: &mut String, [name, median, ends, unit, goal, verdict, others]: [&str; 7]) {
    let row =
        format!("{name:34} {median:>9} {ends:>21}  {unit:9} {goal:8} {verdict:7} {others:>6}");
    writeln!(text, "{}", row.trim_end()).expect("a string takes every text");
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(figures: Vec<Figure>) -> Report {
        let quiet = Quiet { cores: 2, busy_share: 0.01, quiet: true };
        Report { seed: 7, rounds: 3, quiet, figures }
    }

    fn ratio(samples: &[f64]) -> Figure {
        Figure::new("intake.ratio", "ratio", samples.to_vec()).goal(Goal::AtLeast(0.5))
    }

    #[test]
    fn the_median_decides_whether_a_goal_is_met() {
        let met = report(vec![ratio(&[0.4, 0.6, 0.7])]);
        assert!(met.table().contains("0.60          0.40 .. 0.70  ratio     >= 0.5   met"));
        assert!(!met.broken());
        let missed = report(vec![ratio(&[0.4, 0.45, 0.7])]);
        assert!(missed.table().contains("missed"));
        assert!(!missed.broken());
        let memory = Figure::new("memory", "MB", vec![41.0]).goal(Goal::AtMost(40.0));
        assert!(report(vec![memory]).table().contains("<= 40    missed"));
    }

    #[test]
    fn a_broken_promise_leaves_no_figure() {
        let mut figures = [ratio(&[0.9]), ratio(&[0.8])];
        Figure::void_all(&mut figures, &Err("2 orders are lost".to_owned()));
        let report = report(figures.to_vec());
        assert!(report.broken());
        assert_eq!(report.table().matches("void: 2 orders are lost").count(), 1);
        assert!(!report.table().contains("0.90"));
        let json: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["figures"][0]["median"], Value::Null);
        assert_eq!(json["figures"][0]["verdict"], "void");
    }
}
