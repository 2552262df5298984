//! From a decision about one task to rows: pure, so that what a step means is said once and tested without a database.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::policy::{Decision, Overlap, Rules, SkipReason, Stage, Step, decide};
use crate::store::apply::{Moved, Standing, Written};
use crate::store::due::{DueTask, OpenRow};
use crate::store::state::OccurrenceState;
use crate::task::TaskSpec;

/// What one look makes of one task.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Occurrences that don't exist yet.
    pub(crate) create: Vec<Written>,
    /// Those that do, with what they must still be when they are locked.
    pub(crate) alter: Vec<(Standing, Written)>,
    /// The attempts to be told to the workers, in order.
    pub(crate) dispatch: Vec<Dispatch>,
    /// What comes next.
    pub(crate) moved: Option<Moved>,
    /// What came next before this look, for when nothing of it can happen.
    pub(crate) next_before: Option<DateTime<Utc>>,
}

/// One attempt to be told to the workers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Dispatch {
    pub(crate) instant: DateTime<Utc>,
    pub(crate) fire_at: DateTime<Utc>,
    pub(crate) attempt: i32,
    pub(crate) overlap: Overlap,
}

struct Row {
    before: Option<Standing>,
    overlap: Overlap,
    active: bool,
    changed: bool,
    now: Written,
}

/// Decides on a task and says what that means for its rows.
pub(crate) fn plan(task: &DueTask, spec: &TaskSpec, open: &[OpenRow]) -> Plan {
    let rules = Rules {
        task: &task.id,
        recurrence: spec.recurrence(),
        overlap: spec.overlap(),
        catch_up: spec.catch_up(),
        jitter: spec.jitter(),
        paused: task.paused,
    };
    let opens: Vec<_> = open.iter().map(OpenRow::open).collect();
    let Decision { steps, next, look_at } = decide(&rules, task.now, task.next_at, &opens);
    let mut table = Table { task, spec, rows: BTreeMap::new(), missed: Vec::new() };
    table.fill(open);
    steps.iter().for_each(|step| table.take(step));
    // A pause forgets no instant: resuming sets the next one anew.
    let next_at = if task.paused { task.next_at } else { next };
    table.finish(next_at, look_at)
}

struct Table<'a> {
    task: &'a DueTask,
    spec: &'a TaskSpec,
    rows: BTreeMap<DateTime<Utc>, Row>,
    missed: Vec<Written>,
}

impl Table<'_> {
    fn fill(&mut self, open: &[OpenRow]) {
        for row in open {
            let OpenRow { instant, state, fire_at, attempt, until, cancelling, overlap } = *row;
            let now = Written { state, attempt, until, cancelling, ..self.blank(instant, fire_at) };
            let row = Row {
                before: Some(Standing { state, attempt, cancelling }),
                overlap: overlap.unwrap_or(self.spec.overlap()),
                active: matches!(row.open().stage, Stage::Active { .. }),
                changed: false,
                now,
            };
            self.rows.insert(instant, row);
        }
    }

    fn blank(&self, instant: DateTime<Utc>, fire_at: DateTime<Utc>) -> Written {
        Written {
            task: self.task.id.clone(),
            instant,
            state: OccurrenceState::Waiting,
            fire_at,
            attempt: 0,
            until: None,
            cancelling: false,
            dispatched: false,
            reason: None,
            trace_id: None,
            missed: None,
        }
    }

    fn take(&mut self, step: &Step) {
        let now = self.task.now;
        match *step {
            Step::Create { instant, fire_at } => {
                let row = Row {
                    before: None,
                    overlap: self.spec.overlap(),
                    active: false,
                    changed: true,
                    now: self.blank(instant, fire_at),
                };
                self.rows.entry(instant).or_insert(row);
            }
            Step::Missed { from, to, count } => {
                let count = count.and_then(|count| i32::try_from(count).ok());
                let row = Written {
                    state: OccurrenceState::Missed,
                    reason: Some("due before the catch-up window"),
                    missed: Some((to, count)),
                    ..self.blank(from, from)
                };
                self.missed.push(row);
            }
            Step::Dispatch(instant) => {
                let deadline = TimeDelta::from_std(self.spec.deadline()).unwrap_or(TimeDelta::MAX);
                self.change(instant, |row| {
                    row.state = OccurrenceState::Dispatched;
                    row.attempt += 1;
                    row.until = now.checked_add_signed(deadline);
                    row.dispatched = true;
                });
            }
            Step::Skip(instant, reason) => {
                self.end(instant, OccurrenceState::Skipped, words(reason))
            }
            Step::Cancel(instant) => self.cancel(instant),
            Step::Terminate(instant) => {
                let reason = "a later occurrence took its place";
                self.end(instant, OccurrenceState::Terminated, reason);
            }
            Step::TimeOut(instant) => self.time_out(instant),
        }
    }

    fn change(&mut self, instant: DateTime<Utc>, change: impl FnOnce(&mut Written)) {
        if let Some(row) = self.rows.get_mut(&instant) {
            change(&mut row.now);
            row.changed = true;
        }
    }

    fn end(&mut self, instant: DateTime<Utc>, state: OccurrenceState, reason: &'static str) {
        self.change(instant, |row| {
            row.state = state;
            row.until = None;
            row.reason = Some(reason);
        });
    }

    /// Whoever works on it is asked; what nobody works on ends.
    fn cancel(&mut self, instant: DateTime<Utc>) {
        let reason = "a later occurrence asked for its place";
        if self.rows.get(&instant).is_some_and(|row| row.active) {
            self.change(instant, |row| {
                row.cancelling = true;
                row.reason = Some(reason);
            });
        } else {
            self.end(instant, OccurrenceState::Cancelled, reason);
        }
    }

    fn time_out(&mut self, instant: DateTime<Utc>) {
        let (now, retry) = (self.task.now, self.spec.retry());
        self.change(instant, |row| {
            let attempts = u32::try_from(row.attempt).unwrap_or(0);
            row.until = None;
            row.reason = Some("the attempt took longer than the deadline");
            if row.cancelling {
                row.state = OccurrenceState::Cancelled;
            } else if attempts < retry.attempts_max {
                let wait = TimeDelta::from_std(retry.backoff.wait(attempts)).unwrap_or_default();
                row.state = OccurrenceState::Waiting;
                row.fire_at = now + wait;
            } else {
                row.state = OccurrenceState::TimedOut;
            }
        });
    }

    fn finish(self, next_at: Option<DateTime<Utc>>, look_at: Option<DateTime<Utc>>) -> Plan {
        let mut plan = Plan { create: self.missed, ..Plan::default() };
        let mut looks: Vec<_> = look_at.into_iter().collect();
        for row in self.rows.into_values().filter(|row| row.changed) {
            if row.now.dispatched {
                // Until then nothing but the occurrence's end happens to it.
                looks.extend(row.now.until);
                plan.dispatch.push(Dispatch {
                    instant: row.now.instant,
                    fire_at: row.now.fire_at,
                    attempt: row.now.attempt,
                    overlap: row.overlap,
                });
            }
            match row.before {
                None => plan.create.push(row.now),
                Some(before) => plan.alter.push((before, row.now)),
            }
        }
        let task = self.task.id.clone();
        plan.next_before = self.task.next_at;
        plan.moved = Some(Moved { task, next_at, look_at: looks.into_iter().min() });
        plan
    }
}

fn words(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Overlap => "another occurrence is open",
        SkipReason::Superseded => "a later occurrence took its place",
        SkipReason::BufferFull => "too many occurrences wait",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::task::{RetryForm, TaskForm};

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn due(next: Option<i64>, paused: bool) -> DueTask {
        DueTask { id: "t".into(), spec: String::new(), paused, next_at: next.map(at), now: at(105) }
    }

    fn spec(overlap: Overlap, attempts_max: u32) -> TaskSpec {
        let retry = RetryForm { attempts_max, backoff_min_ms: 1_000, backoff_max_ms: 60_000 };
        let form = TaskForm { overlap, retry, ..TaskForm::every(Duration::from_secs(10)) };
        TaskSpec::try_from_form(TaskForm { deadline_ms: 20_000, ..form }).unwrap()
    }

    fn running(second: i64, until: i64, attempt: i32) -> OpenRow {
        OpenRow {
            instant: at(second),
            state: OccurrenceState::Running,
            fire_at: at(second),
            attempt,
            until: Some(at(until)),
            cancelling: false,
            overlap: None,
        }
    }

    #[test]
    fn what_is_created_and_begins_at_once_is_one_row_and_one_message() {
        let plan = plan(&due(Some(100), false), &spec(Overlap::Skip, 1), &[]);
        assert_eq!((plan.create.len(), plan.alter.len()), (1, 0));
        let row = &plan.create[0];
        assert_eq!((row.state, row.attempt), (OccurrenceState::Dispatched, 1));
        assert_eq!(row.until, Some(at(125)));
        assert_eq!(plan.dispatch.len(), 1);
        let moved = plan.moved.unwrap();
        assert_eq!((moved.next_at, moved.look_at), (Some(at(110)), Some(at(110))));
    }

    #[test]
    fn an_attempt_out_of_time_is_made_again_until_the_attempts_are_used_up() {
        for (attempt, state) in [(1, OccurrenceState::Waiting), (2, OccurrenceState::TimedOut)] {
            let open = [running(50, 100, attempt)];
            let plan = plan(&due(None, false), &spec(Overlap::Skip, 2), &open);
            let (before, row) = &plan.alter[0];
            assert_eq!(before.state, OccurrenceState::Running);
            assert_eq!((row.state, row.until, row.attempt), (state, None, attempt));
            assert!(plan.dispatch.is_empty());
            assert_eq!(plan.moved.unwrap().look_at, Some(at(105)), "looked at again at once");
        }
    }

    #[test]
    fn one_that_was_asked_to_end_and_is_out_of_time_was_cancelled() {
        let open = [OpenRow { cancelling: true, ..running(50, 100, 1) }];
        let plan = plan(&due(None, false), &spec(Overlap::Skip, 5), &open);
        assert_eq!(plan.alter[0].1.state, OccurrenceState::Cancelled);
    }

    #[test]
    fn a_running_one_is_asked_and_one_between_attempts_ends() {
        let failed = OpenRow {
            state: OccurrenceState::Waiting,
            until: None,
            fire_at: at(500),
            ..running(40, 0, 1)
        };
        let (asked, ended) = (running(50, 400, 1), failed);
        for (open, state, cancelling, dispatched) in [
            (asked, OccurrenceState::Running, true, 0),
            (ended, OccurrenceState::Cancelled, false, 1),
        ] {
            let plan = plan(&due(Some(100), false), &spec(Overlap::CancelOther, 5), &[open]);
            let row = &plan.alter[0].1;
            assert_eq!((row.state, row.cancelling), (state, cancelling));
            assert_eq!(plan.dispatch.len(), dispatched);
        }
    }

    #[test]
    fn a_paused_task_keeps_its_place_in_time() {
        let plan = plan(&due(Some(100), true), &spec(Overlap::Skip, 1), &[]);
        assert!(plan.create.is_empty());
        assert_eq!(
            plan.moved.unwrap(),
            Moved { task: "t".into(), next_at: Some(at(100)), look_at: None }
        );
    }
}
