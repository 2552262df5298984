//! A task as flags, and the form that the API takes.

use std::time::Duration;

use anyhow::Context;
use chrono::DateTime;
use clap::Args;
use clap::builder::PossibleValuesParser;
use millrace_common::scheduler::calendar::DstPolicy;
use millrace_common::scheduler::policy::Overlap;
use millrace_common::scheduler::task::ScheduleForm;
use millrace_common::scheduler::{OccurrenceState, TaskForm};
use serde_json::Value;

/// What a task is. What isn't given is as the scheduler has it; nothing is taken over from an earlier form.
#[derive(Args)]
pub(super) struct TaskArguments {
    /// Due by the wall clock: minute, hour, day of month, month, day of week.
    #[arg(long, required_unless_present_any = ["every", "at"], conflicts_with_all = ["every", "at"])]
    cron: Option<String>,
    /// The zone of --cron.
    #[arg(long, default_value = "UTC", conflicts_with_all = ["every", "at"])]
    zone: String,
    /// What changes of the clock do to --cron.
    #[arg(
        long,
        default_value = "once",
        value_parser = dst_policies(),
        conflicts_with_all = ["every", "at"]
    )]
    dst: String,
    /// Due by elapsed time, e.g. `5m`.
    #[arg(long, value_parser = humantime::parse_duration, conflicts_with = "at")]
    every: Option<Duration>,
    /// Due once, e.g. `2026-12-24T18:00:00+01:00`.
    #[arg(long)]
    at: Option<String>,
    /// JSON for the handler.
    #[arg(long)]
    payload: Option<String>,
    /// Occurrences with equal keys are worked on in order.
    #[arg(long)]
    partition_key: Option<String>,
    /// What an occurrence does while an earlier one is open.
    #[arg(long, value_parser = overlaps())]
    overlap: Option<String>,
    /// How late an occurrence may begin that was due while nobody dispatched.
    #[arg(long, value_parser = humantime::parse_duration)]
    catch_up: Option<Duration>,
    /// How far beginnings are spread.
    #[arg(long, value_parser = humantime::parse_duration)]
    jitter: Option<Duration>,
    /// How long an attempt may take.
    #[arg(long, value_parser = humantime::parse_duration)]
    deadline: Option<Duration>,
    /// How long its ended occurrences are kept.
    #[arg(long, value_parser = humantime::parse_duration)]
    retention: Option<Duration>,
    /// Attempts in all.
    #[arg(long)]
    attempts_max: Option<u32>,
    /// The wait before the second attempt.
    #[arg(long, value_parser = humantime::parse_duration)]
    backoff_min: Option<Duration>,
    /// No wait between attempts is longer.
    #[arg(long, value_parser = humantime::parse_duration)]
    backoff_max: Option<Duration>,
}

/// The words for overlap policies.
pub(super) fn overlaps() -> PossibleValuesParser {
    PossibleValuesParser::new(Overlap::ALL.map(Overlap::as_str))
}

/// The words for states.
pub(super) fn states() -> PossibleValuesParser {
    PossibleValuesParser::new(OccurrenceState::ALL.map(OccurrenceState::as_str))
}

fn dst_policies() -> PossibleValuesParser {
    PossibleValuesParser::new(DstPolicy::ALL.map(DstPolicy::as_str))
}

impl TaskArguments {
    /// The form; its bounds are checked by the service.
    pub(super) fn form(&self) -> anyhow::Result<TaskForm> {
        let mut form = TaskForm::with(self.schedule()?);
        if let Some(payload) = &self.payload {
            form.payload =
                serde_json::from_str::<Value>(payload).context("--payload is no JSON")?;
        }
        form.retention_ms = self.retention.map(millis);
        form.partition_key = self.partition_key.clone();
        if let Some(overlap) = self.overlap.as_deref().and_then(Overlap::parse) {
            form.overlap = overlap;
        }
        for (given, field) in [
            (self.catch_up, &mut form.catch_up_ms),
            (self.jitter, &mut form.jitter_ms),
            (self.deadline, &mut form.deadline_ms),
            (self.backoff_min, &mut form.retry.backoff_min_ms),
            (self.backoff_max, &mut form.retry.backoff_max_ms),
        ] {
            if let Some(span) = given {
                *field = millis(span);
            }
        }
        if let Some(attempts) = self.attempts_max {
            form.retry.attempts_max = attempts;
        }
        Ok(form)
    }

    fn schedule(&self) -> anyhow::Result<ScheduleForm> {
        if let Some(expression) = &self.cron {
            let dst = DstPolicy::parse(&self.dst).unwrap_or_default();
            let (expression, zone) = (expression.clone(), self.zone.clone());
            return Ok(ScheduleForm::Cron { expression, zone, dst });
        }
        if let Some(interval) = self.every {
            return Ok(ScheduleForm::Every { interval_ms: millis(interval), anchor_ms: 0 });
        }
        let at = self.at.as_deref().context("one of --cron, --every and --at is needed")?;
        let instant = DateTime::parse_from_rfc3339(at)
            .with_context(|| format!("--at `{at}` is no instant such as 2026-01-31T12:00:00Z"))?;
        Ok(ScheduleForm::At { instant_ms: instant.timestamp_millis() })
    }
}

/// Spans beyond any bound stay so.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        task: TaskArguments,
    }

    fn form(line: &[&str]) -> anyhow::Result<TaskForm> {
        Line::try_parse_from([&["millrace"], line].concat())?.task.form()
    }

    #[test]
    fn flags_become_the_form_and_the_rest_is_the_schedulers() {
        let cron = form(&["--cron", "30 2 * * *", "--zone", "Europe/Berlin"]).unwrap();
        assert_eq!(cron, TaskForm::cron("30 2 * * *", "Europe/Berlin"));
        assert_eq!(form(&["--at", "1970-01-01T01:00:01+01:00"]).unwrap(), TaskForm::at(1_000));
        let every = form(&[
            "--every",
            "5m",
            "--payload",
            r#"{"a":1}"#,
            "--overlap",
            "allow_all",
            "--catch-up",
            "10m",
            "--deadline",
            "30s",
            "--retention",
            "1day",
            "--attempts-max",
            "2",
            "--backoff-min",
            "250ms",
        ])
        .unwrap();
        let mut expected = TaskForm::every(Duration::from_secs(300));
        expected.payload = json!({ "a": 1 });
        expected.overlap = Overlap::AllowAll;
        expected.catch_up_ms = 600_000;
        expected.deadline_ms = 30_000;
        expected.retention_ms = Some(86_400_000);
        expected.retry.attempts_max = 2;
        expected.retry.backoff_min_ms = 250;
        assert_eq!(every, expected);
    }

    #[test]
    fn a_line_names_one_schedule() {
        for line in [
            &[][..],
            &["--cron", "@daily", "--every", "5m"],
            &["--every", "5m", "--at", "2026-01-01T00:00:00Z"],
            &["--every", "5m", "--dst", "skip"],
            &["--every", "soon"],
            &["--at", "tomorrow"],
            &["--cron", "@daily", "--overlap", "maybe"],
            &["--cron", "@daily", "--payload", "{"],
        ] {
            assert!(form(line).is_err(), "{line:?}");
        }
    }
}
