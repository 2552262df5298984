//! What becomes of a task at one moment: which occurrences begin, wait, are left out, or give way.
//!
//! A function of a moment, a task and its open occurrences, so that every policy is a table in a test. It never asks a
//! clock, and it never looks further than [`CREATED_MAX`] occurrences at once: after a long absence the next look goes on.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::calendar::{Recurrence, fire_at};

/// Occurrences that one look creates at most.
pub const CREATED_MAX: usize = 100;
/// Occurrences that wait behind a running one at most.
pub const BUFFERED_MAX: usize = 1_000;
/// How long an occurrence waits for a place before it is looked for again.
pub const LOOK_FOR_A_PLACE: TimeDelta = TimeDelta::seconds(1);
/// Missed occurrences that are counted one by one; beyond, only the span is told.
pub const MISSED_COUNTED_MAX: usize = 10_000;

/// What a task does while an earlier occurrence of it is still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Overlap {
    /// The new one is left out.
    #[default]
    Skip,
    /// One waits, more are left out.
    BufferOne,
    /// All wait and begin one after another.
    BufferAll,
    /// The open one is asked to end; the new one begins when it has.
    CancelOther,
    /// The open one's later writes are refused from now on; the new one begins at once.
    TerminateOther,
    /// All run beside each other, each with a partition key of its own.
    AllowAll,
}

/// The parts of a task that decide.
#[derive(Debug, Clone)]
pub struct Rules<'a> {
    /// Seed of the jitter.
    pub task: &'a str,
    /// When it is due.
    pub recurrence: &'a Recurrence,
    /// What overlaps do.
    pub overlap: Overlap,
    /// How late an occurrence may begin that was due while nobody dispatched.
    pub catch_up: Duration,
    /// How far beginnings are spread.
    pub jitter: Duration,
    /// Nothing new begins; what is open may end, and try again.
    pub paused: bool,
}

/// How far an open occurrence is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It never began.
    Waiting,
    /// An attempt failed and the next is to come: it holds its place.
    BetweenAttempts,
    /// It was given to the workers.
    Active {
        /// It was asked to end.
        cancelling: bool,
        /// Until when this attempt may go on.
        until: DateTime<Utc>,
    },
}

/// An occurrence that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// Its identity within the task.
    pub instant: DateTime<Utc>,
    /// When it is to begin, or its next attempt.
    pub fire_at: DateTime<Utc>,
    /// How far it is.
    pub stage: Stage,
    /// Its own rule, where it differs from the task's: backfills bring one.
    pub overlap: Option<Overlap>,
}

/// Why an occurrence is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// Another one is open.
    Overlap,
    /// A later one takes its place.
    Superseded,
    /// Too many wait.
    BufferFull,
}

/// One step; the steps of a look are taken in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A new occurrence, waiting.
    Create {
        /// Its identity.
        instant: DateTime<Utc>,
        /// When it is to begin.
        fire_at: DateTime<Utc>,
    },
    /// These were due too long ago.
    Missed {
        /// The first.
        from: DateTime<Utc>,
        /// The last, or the last that was counted.
        to: DateTime<Utc>,
        /// How many, unless there are too many to count.
        count: Option<usize>,
    },
    /// It goes to the workers.
    Dispatch(DateTime<Utc>),
    /// It never begins.
    Skip(DateTime<Utc>, SkipReason),
    /// It is asked to end.
    Cancel(DateTime<Utc>),
    /// Its later writes are refused.
    Terminate(DateTime<Utc>),
    /// Its attempt took too long: its later writes are refused, and the attempt counts as failed.
    TimeOut(DateTime<Utc>),
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// The next instant that has no occurrence yet.
    pub next: Option<DateTime<Utc>>,
    /// When this task needs the next look, if nothing else happens to it.
    pub look_at: Option<DateTime<Utc>>,
}

/// Decides. `next` is the first instant without an occurrence; `open` is in the order of the instants.
#[must_use]
pub fn decide(
    rules: &Rules<'_>,
    now: DateTime<Utc>,
    next: Option<DateTime<Utc>>,
    open: &[Open],
) -> Decision {
    let mut steps = Vec::new();
    let mut next = next.filter(|_| !rules.paused);
    next = leave_out_missed(rules, now, next, &mut steps);
    let mut all = open.to_vec();
    for _ in 0..CREATED_MAX {
        let Some(instant) = next.filter(|instant| *instant <= now) else { break };
        next = rules.recurrence.next_after(instant);
        // Somebody has asked for this very instant: it is an occurrence already.
        if open.iter().any(|one| one.instant == instant) {
            continue;
        }
        let fire_at = fire_at(rules.task, instant, rules.jitter);
        steps.push(Step::Create { instant, fire_at });
        all.push(Open { instant, fire_at, stage: Stage::Waiting, overlap: None });
    }
    all.sort_by_key(|one| one.instant);
    let mut table =
        Table { rules, now, steps, active: Vec::new(), kept: Vec::new(), later: Vec::new() };
    table.seat(all);
    let look_at = table.look_at(next);
    Decision { steps: table.steps, next, look_at }
}

/// Moves past instants that are older than the catch-up window.
fn leave_out_missed(
    rules: &Rules<'_>,
    now: DateTime<Utc>,
    next: Option<DateTime<Utc>>,
    steps: &mut Vec<Step>,
) -> Option<DateTime<Utc>> {
    let first = next?;
    let window = TimeDelta::from_std(rules.catch_up).unwrap_or(TimeDelta::MAX);
    let Some(oldest) = now.checked_sub_signed(window) else { return next };
    if first >= oldest {
        return next;
    }
    let mut missed = std::iter::once(first)
        .chain(rules.recurrence.after(first))
        .take_while(|instant| *instant < oldest)
        .take(MISSED_COUNTED_MAX + 1);
    let (mut to, mut count) = (first, 0);
    for instant in missed.by_ref() {
        (to, count) = (instant, count + 1);
    }
    let count = (count <= MISSED_COUNTED_MAX).then_some(count);
    steps.push(Step::Missed { from: first, to, count });
    // An instant at the edge itself is not too old.
    rules.recurrence.next_after(oldest - TimeDelta::milliseconds(1))
}

struct Table<'a> {
    rules: &'a Rules<'a>,
    now: DateTime<Utc>,
    steps: Vec<Step>,
    /// Holds a place: with the workers, or between two attempts.
    active: Vec<Open>,
    /// Due, and waits for a place.
    kept: Vec<Open>,
    /// Not due yet.
    later: Vec<Open>,
}

impl Table<'_> {
    fn seat(&mut self, all: Vec<Open>) {
        let mut due = Vec::new();
        for one in all {
            match one.stage {
                Stage::Active { until, .. } if until <= self.now => {
                    // Whether it is tried again is for the next look to see.
                    self.steps.push(Step::TimeOut(one.instant));
                    self.active.push(one);
                }
                Stage::Active { .. } => self.active.push(one),
                Stage::BetweenAttempts => self.active.push(one),
                Stage::Waiting if self.rules.paused => {}
                Stage::Waiting if one.fire_at <= self.now => due.push(one),
                Stage::Waiting => self.later.push(one),
            }
        }
        let last_taker = due.iter().rposition(|one| self.takes_the_place(one));
        for (index, one) in due.into_iter().enumerate() {
            if self.takes_the_place(&one) && Some(index) != last_taker {
                self.steps.push(Step::Skip(one.instant, SkipReason::Superseded));
            } else {
                self.place(one);
            }
        }
        // Last, because one that comes now may have ended those that were to be tried again.
        for one in &self.active {
            if one.stage == Stage::BetweenAttempts && one.fire_at <= self.now {
                self.steps.push(Step::Dispatch(one.instant));
            }
        }
    }

    fn overlap(&self, one: &Open) -> Overlap {
        one.overlap.unwrap_or(self.rules.overlap)
    }

    fn takes_the_place(&self, one: &Open) -> bool {
        matches!(self.overlap(one), Overlap::CancelOther | Overlap::TerminateOther)
    }

    fn place(&mut self, one: Open) {
        let free = self.active.is_empty();
        match self.overlap(&one) {
            Overlap::AllowAll => self.dispatch(one),
            Overlap::TerminateOther => {
                for other in std::mem::take(&mut self.active) {
                    self.steps.push(Step::Terminate(other.instant));
                }
                self.dispatch(one);
            }
            Overlap::Skip if free => self.dispatch(one),
            Overlap::Skip => self.steps.push(Step::Skip(one.instant, SkipReason::Overlap)),
            Overlap::BufferOne | Overlap::BufferAll | Overlap::CancelOther if free => {
                self.dispatch(one)
            }
            Overlap::BufferOne if self.kept.is_empty() => self.kept.push(one),
            Overlap::BufferOne => self.steps.push(Step::Skip(one.instant, SkipReason::Overlap)),
            Overlap::BufferAll if self.kept.len() < BUFFERED_MAX => self.kept.push(one),
            Overlap::BufferAll => self.steps.push(Step::Skip(one.instant, SkipReason::BufferFull)),
            Overlap::CancelOther => self.cancel_for(one),
        }
    }

    /// What isn't with the workers ends at once; the others are asked, and the new one waits for them.
    fn cancel_for(&mut self, one: Open) {
        for other in std::mem::take(&mut self.active) {
            if !matches!(other.stage, Stage::Active { cancelling: true, .. }) {
                self.steps.push(Step::Cancel(other.instant));
            }
            if matches!(other.stage, Stage::Active { .. }) {
                self.active.push(other);
            }
        }
        if self.active.is_empty() { self.dispatch(one) } else { self.kept.push(one) }
    }

    fn dispatch(&mut self, one: Open) {
        self.steps.push(Step::Dispatch(one.instant));
        self.active.push(one);
    }

    /// Ends of occurrences bring a look of their own; here is what time alone brings. Where one waits for a place it is
    /// looked for anyway: an end that came between two looks told nobody.
    fn look_at(&self, next: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
        if self.steps.iter().any(|step| matches!(step, Step::TimeOut(_))) {
            return Some(self.now);
        }
        let waits = (!self.kept.is_empty()).then(|| self.now + LOOK_FOR_A_PLACE);
        let ends = self.active.iter().filter_map(|one| match one.stage {
            Stage::Active { until, .. } => Some(until).filter(|until| *until > self.now),
            Stage::BetweenAttempts => Some(one.fire_at).filter(|at| *at > self.now),
            // Begun in this look; its end is known when it is written.
            Stage::Waiting => None,
        });
        let begins = self.later.iter().map(|one| one.fire_at);
        ends.chain(begins).chain(next).chain(waits).min()
    }
}
