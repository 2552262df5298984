//! A task that makes sense: every bound is kept, the expression comes true, the zone exists.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_resilience::Backoff;
use serde_json::Value;

use super::{ScheduleForm, TaskForm};
use crate::calendar::{CronRefusal, Expressions, Interval, Recurrence, Zone};
use crate::policy::Overlap;

/// A task without its name, read from a form.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskSpec {
    form: TaskForm,
    payload_text: String,
    recurrence: Recurrence,
}

/// What happens after a failure that may pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// Attempts in all, the first included.
    pub attempts_max: u32,
    /// The waits between them.
    pub backoff: Backoff,
}

/// One thing that is wrong with a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecProblem {
    /// The form's field.
    pub field: &'static str,
    /// What is wrong with it, as the end of a sentence that begins with the field.
    pub problem: String,
}

/// Everything that is wrong with a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecRefused {
    /// At least one.
    pub problems: Vec<SpecProblem>,
}

impl fmt::Display for SpecRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, SpecProblem { field, problem }) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{field}: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecRefused {}

const SECOND_MS: u64 = 1_000;
const HOUR_MS: u64 = 60 * 60 * SECOND_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Characters of a partition key at most.
const KEY_LENGTH_MAX: usize = 128;

impl TaskSpec {
    /// Bytes of a payload's text at most.
    pub const PAYLOAD_BYTES_MAX: usize = 16 * 1024;

    /// Reads a form.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn try_from_form(form: TaskForm) -> Result<Self, SpecRefused> {
        Self::try_from_form_with(form, &Expressions::default())
    }

    /// Reads a form with expressions parsed earlier at hand.
    ///
    /// # Errors
    /// As [`TaskSpec::try_from_form`].
    pub fn try_from_form_with(
        form: TaskForm,
        expressions: &Expressions,
    ) -> Result<Self, SpecRefused> {
        let mut found = Found::default();
        let recurrence = found.recurrence(&form.schedule, expressions);
        let payload_text = found.payload(&form.payload);
        if let Some(key) = &form.partition_key {
            let plain = (1..=KEY_LENGTH_MAX).contains(&key.chars().count())
                && !key.chars().any(char::is_control);
            let rule = format!("must be 1 to {KEY_LENGTH_MAX} characters, none of them a control");
            found.require(plain, "partition_key", rule);
        }
        let retry = form.retry;
        for (field, value, (least, most), words) in [
            ("catch_up", form.catch_up_ms, (10 * SECOND_MS, 30 * DAY_MS), "10s to 30 days"),
            ("jitter", form.jitter_ms, (0, DAY_MS), "0s to 1 day"),
            ("deadline", form.deadline_ms, (SECOND_MS, 7 * DAY_MS), "1s to 7 days"),
            ("retry.attempts_max", u64::from(retry.attempts_max), (1, 100), "1 to 100"),
            ("retry.backoff_min", retry.backoff_min_ms, (10, DAY_MS), "10ms to 1 day"),
            ("retry.backoff_max", retry.backoff_max_ms, (10, DAY_MS), "10ms to 1 day"),
        ] {
            found.require((least..=most).contains(&value), field, format!("must be {words}"));
        }
        if let Some(retention) = form.retention_ms {
            let kept = (HOUR_MS..=3660 * DAY_MS).contains(&retention);
            found.require(kept, "retention", "must be 1 hour to 3660 days");
        }
        let grows = retry.backoff_min_ms <= retry.backoff_max_ms;
        found.require(grows, "retry.backoff_min", "must not be above retry.backoff_max");
        match (recurrence, found.0) {
            (Some(recurrence), problems) if problems.is_empty() => {
                Ok(Self { form, payload_text, recurrence })
            }
            (_, problems) => Err(SpecRefused { problems }),
        }
    }

    /// The form that it was read from.
    #[must_use]
    pub fn form(&self) -> &TaskForm {
        &self.form
    }

    /// When it is due.
    #[must_use]
    pub fn recurrence(&self) -> &Recurrence {
        &self.recurrence
    }

    /// What happens while an earlier occurrence is open.
    #[must_use]
    pub fn overlap(&self) -> Overlap {
        self.form.overlap
    }

    /// How late an occurrence may begin that was due while nobody dispatched.
    #[must_use]
    pub fn catch_up(&self) -> Duration {
        Duration::from_millis(self.form.catch_up_ms)
    }

    /// How far beginnings are spread.
    #[must_use]
    pub fn jitter(&self) -> Duration {
        Duration::from_millis(self.form.jitter_ms)
    }

    /// How long an attempt may take, from its dispatch.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.form.deadline_ms)
    }

    /// What happens after a failure that may pass.
    #[must_use]
    pub fn retry(&self) -> Retry {
        Retry::of(&self.form.retry)
    }

    /// Bytes of the payload's text.
    #[must_use]
    pub fn payload_bytes(&self) -> usize {
        self.payload_text.len()
    }

    /// The key of one occurrence's message: the task's own, unless occurrences run beside each other.
    pub(crate) fn key(&self, task: &str, instant: DateTime<Utc>, overlap: Overlap) -> String {
        let own = self.form.partition_key.as_deref().unwrap_or(task);
        match overlap {
            Overlap::AllowAll => format!("{own}/{}", instant.timestamp_millis()),
            Overlap::Skip
            | Overlap::BufferOne
            | Overlap::BufferAll
            | Overlap::CancelOther
            | Overlap::TerminateOther => own.to_owned(),
        }
    }
}

impl Retry {
    pub(crate) fn of(form: &super::RetryForm) -> Self {
        let backoff = Backoff {
            initial: Duration::from_millis(form.backoff_min_ms),
            max: Duration::from_millis(form.backoff_max_ms),
            factor: 2.0,
            jitter: 0.2,
        };
        Self { attempts_max: form.attempts_max, backoff }
    }
}

#[derive(Default)]
struct Found(Vec<SpecProblem>);

impl Found {
    fn add(&mut self, field: &'static str, problem: impl fmt::Display) {
        self.0.push(SpecProblem { field, problem: problem.to_string() });
    }

    fn require(&mut self, holds: bool, field: &'static str, problem: impl fmt::Display) {
        if !holds {
            self.add(field, problem);
        }
    }

    fn recurrence(
        &mut self,
        schedule: &ScheduleForm,
        expressions: &Expressions,
    ) -> Option<Recurrence> {
        match schedule {
            ScheduleForm::Cron { expression, zone, dst } => {
                let expression = expressions
                    .parse(expression)
                    .map_err(|refusal: CronRefusal| self.add("schedule.expression", refusal));
                let zone = Zone::parse(zone).map_err(|unknown| self.add("schedule.zone", unknown));
                let (expression, zone) = (expression.ok()?, zone.ok()?);
                Some(Recurrence::Cron { expression, zone, dst: *dst })
            }
            ScheduleForm::Every { interval_ms, anchor_ms } => {
                let anchor = self.instant("schedule.anchor", *anchor_ms);
                Interval::try_new(Duration::from_millis(*interval_ms), anchor.unwrap_or_default())
                    .map_err(|refusal| self.add("schedule.interval", refusal))
                    .ok()
                    .filter(|_| anchor.is_some())
                    .map(Recurrence::Every)
            }
            ScheduleForm::At { instant_ms } => {
                self.instant("schedule.instant", *instant_ms).map(Recurrence::At)
            }
        }
    }

    /// 1970 to 9999: what every part on the way can write down.
    fn instant(&mut self, field: &'static str, ms: i64) -> Option<DateTime<Utc>> {
        const LAST_MS: i64 = 253_402_300_799_999;
        let instant = DateTime::from_timestamp_millis(ms);
        let instant = instant.filter(|_| (0..=LAST_MS).contains(&ms));
        if instant.is_none() {
            self.add(field, "must be between the years 1970 and 9999");
        }
        instant
    }

    fn payload(&mut self, payload: &Value) -> String {
        let text = payload.to_string();
        let (bytes, most) = (text.len(), TaskSpec::PAYLOAD_BYTES_MAX);
        self.require(bytes <= most, "payload", format!("has {bytes} bytes, {most} are allowed"));
        // PostgreSQL stores no NUL in a text.
        self.require(!has_nul(payload), "payload", "has a NUL character");
        text
    }
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::task::RetryForm;

    fn fields(form: TaskForm) -> Vec<&'static str> {
        let refused = TaskSpec::try_from_form(form).unwrap_err();
        refused.problems.iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let form = TaskForm {
            payload: json!({ "text": "x".repeat(16 * 1024), "n\0": 1 }),
            partition_key: Some(String::new()),
            catch_up_ms: 9_999,
            jitter_ms: u64::MAX,
            retry: RetryForm { attempts_max: 0, backoff_min_ms: 5_000, backoff_max_ms: 100 },
            deadline_ms: 0,
            retention_ms: Some(1),
            ..TaskForm::cron("0 0 30 2 *", "Mars/Olympus")
        };
        let expected = [
            "schedule.expression",
            "schedule.zone",
            "payload",
            "payload",
            "partition_key",
            "catch_up",
            "jitter",
            "deadline",
            "retry.attempts_max",
            "retention",
            "retry.backoff_min",
        ];
        assert_eq!(fields(form), expected);
        assert_eq!(fields(TaskForm::every(Duration::ZERO)), ["schedule.interval"]);
        assert_eq!(fields(TaskForm::at(-1)), ["schedule.instant"]);
        assert_eq!(fields(TaskForm::at(i64::MAX)), ["schedule.instant"]);
    }

    #[test]
    fn a_form_comes_back_from_its_stored_text_as_it_was() {
        let cron = TaskForm {
            overlap: Overlap::TerminateOther,
            payload: json!({ "limit": 7, "zone": null }),
            retention_ms: Some(3_600_000),
            partition_key: Some("stock".into()),
            ..TaskForm::cron("30 2 * * *", "Europe/Berlin")
        };
        for form in [cron, TaskForm::every(Duration::from_secs(5)), TaskForm::at(1_700_000_000_123)]
        {
            let text = serde_json::to_string(&form).unwrap();
            assert_eq!(serde_json::from_str::<TaskForm>(&text).unwrap(), form, "{text}");
            assert_eq!(TaskSpec::try_from_form(form.clone()).unwrap().form(), &form);
        }
    }

    #[test]
    fn only_occurrences_that_run_beside_each_other_have_keys_of_their_own() {
        let spec = TaskSpec::try_from_form(TaskForm::at(0)).unwrap();
        let instant = DateTime::from_timestamp_millis(1_500).unwrap();
        assert_eq!(spec.key("t", instant, Overlap::Skip), "t");
        assert_eq!(spec.key("t", instant, Overlap::AllowAll), "t/1500");
    }
}
