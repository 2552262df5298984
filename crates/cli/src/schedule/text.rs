//! What the API answers, as text for a person. Instants are shown in UTC.

use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
pub(super) struct TaskPage {
    pub(super) tasks: Vec<Task>,
    pub(super) next_cursor: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Task {
    id: String,
    origin: String,
    version: i64,
    schedule: Schedule,
    payload: Value,
    partition_key: Option<String>,
    overlap: String,
    catch_up_ms: u64,
    jitter_ms: u64,
    retry: Retry,
    deadline_ms: u64,
    retention_ms: Option<u64>,
    paused: Option<Paused>,
    next_at: Option<i64>,
    updated_at: i64,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Schedule {
    Cron { expression: String, zone: String, dst: String },
    Every { interval_ms: u64, anchor_ms: i64 },
    At { instant_ms: i64 },
}

#[derive(Deserialize)]
struct Retry {
    attempts_max: u32,
    backoff_min_ms: u64,
    backoff_max_ms: u64,
}

#[derive(Deserialize)]
struct Paused {
    at: i64,
    by: String,
    note: String,
}

#[derive(Deserialize)]
pub(super) struct Forecast {
    instants: Vec<i64>,
}

#[derive(Deserialize)]
pub(super) struct Triggered {
    instant: i64,
}

#[derive(Deserialize)]
pub(super) struct Backfilled {
    occurrences: u64,
}

#[derive(Deserialize)]
pub(super) struct HistoryPage {
    occurrences: Vec<Occurrence>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct Occurrence {
    instant: i64,
    state: String,
    kind: String,
    fire_at: i64,
    attempt: i32,
    started_at: Option<i64>,
    ended_at: Option<i64>,
    worker: Option<String>,
    reason: Option<String>,
    trace_id: Option<String>,
    missed: Option<Missed>,
}

#[derive(Deserialize)]
struct Missed {
    until: i64,
    count: Option<i32>,
}

/// One line: name, when, what is next.
pub(super) fn task_line(task: &Task) -> String {
    let release = if task.origin == "code" { ", of the release" } else { "" };
    format!("{}: {}, {}{release}", task.id, schedule(&task.schedule), state(task))
}

/// Everything about one task.
pub(super) fn task(task: &Task) -> String {
    let Retry { attempts_max, backoff_min_ms, backoff_max_ms } = task.retry;
    let origin = match task.origin.as_str() {
        "code" => "declared by a release",
        _ => "made by an operator",
    };
    let retry =
        format!("{attempts_max} attempts, {} to {}", span(backoff_min_ms), span(backoff_max_ms));
    let key = task.partition_key.as_deref().unwrap_or("the task's name");
    let mut text = String::new();
    for (label, value) in [
        ("task", task.id.clone()),
        ("version", format!("{}, {origin}, changed {}", task.version, instant(task.updated_at))),
        ("schedule", schedule(&task.schedule)),
        ("state", state(task)),
        ("overlap", task.overlap.clone()),
        ("catch-up", span(task.catch_up_ms)),
        ("jitter", span(task.jitter_ms)),
        ("deadline", span(task.deadline_ms)),
        ("kept", task.retention_ms.map_or_else(|| "as the service says".to_owned(), span)),
        ("retry", retry),
        ("key", printable(key)),
        ("payload", task.payload.to_string()),
    ] {
        writeln!(text, "{label:<9} {value}").expect("a text takes everything");
    }
    text
}

/// A line an instant.
pub(super) fn forecast(forecast: &Forecast) -> String {
    if forecast.instants.is_empty() {
        return "never again\n".to_owned();
    }
    forecast.instants.iter().map(|at| instant(*at) + "\n").collect()
}

pub(super) fn triggered(id: &str, triggered: &Triggered) -> String {
    format!("{id} is due now, as its occurrence of {}", instant(triggered.instant))
}

pub(super) fn backfilled(id: &str, made: &Backfilled) -> String {
    match made.occurrences {
        0 => format!("{id} has nothing to make up for in that range"),
        1 => format!("{id} makes up for 1 occurrence"),
        many => format!("{id} makes up for {many} occurrences"),
    }
}

/// A line an occurrence, and where the next page begins.
pub(super) fn history(page: &HistoryPage) -> String {
    let mut text: String = page.occurrences.iter().map(|it| occurrence(it) + "\n").collect();
    if page.occurrences.is_empty() {
        text.push_str("no occurrences\n");
    }
    if let Some(cursor) = &page.next_cursor {
        writeln!(text, "more with --cursor {cursor}").expect("a text takes everything");
    }
    text
}

fn occurrence(occurrence: &Occurrence) -> String {
    let mut text = format!("{} {}", instant(occurrence.instant), occurrence.state);
    if occurrence.kind != "scheduled" {
        text.push_str(&format!(" ({})", occurrence.kind));
    }
    if let Some(Missed { until, count }) = occurrence.missed {
        let count = count.map_or_else(|| "too many to count".to_owned(), |count| count.to_string());
        text.push_str(&format!(", {count} until {}", instant(until)));
    }
    if occurrence.attempt > 0 {
        text.push_str(&format!(", attempt {}", occurrence.attempt));
    }
    match (occurrence.started_at, occurrence.ended_at) {
        (Some(started), Some(ended)) => {
            let took = u64::try_from(ended.saturating_sub(started)).unwrap_or(0);
            text.push_str(&format!(", took {}", span(took)));
        }
        (Some(started), None) => text.push_str(&format!(", since {}", instant(started))),
        (None, None) if occurrence.fire_at != occurrence.instant => {
            text.push_str(&format!(", begins {}", instant(occurrence.fire_at)));
        }
        (None, _) => {}
    }
    let worker = occurrence.worker.as_deref().map(|worker| format!("on {worker}"));
    let reason = occurrence.reason.as_deref().map(printable);
    let trace = occurrence.trace_id.as_deref().map(|trace| format!("trace {trace}"));
    for part in [worker, reason, trace].into_iter().flatten() {
        text.push_str(&format!(", {part}"));
    }
    text
}

fn schedule(schedule: &Schedule) -> String {
    match schedule {
        Schedule::Cron { expression, zone, dst } => {
            format!("cron `{expression}` in {zone} (dst {dst})")
        }
        Schedule::Every { interval_ms, anchor_ms: 0 } => format!("every {}", span(*interval_ms)),
        Schedule::Every { interval_ms, anchor_ms } => {
            format!("every {} from {}", span(*interval_ms), instant(*anchor_ms))
        }
        Schedule::At { instant_ms } => format!("once at {}", instant(*instant_ms)),
    }
}

fn state(task: &Task) -> String {
    match (&task.paused, task.next_at) {
        (Some(Paused { at, by, note }), _) => {
            format!("paused since {} by {}: {}", instant(*at), printable(by), printable(note))
        }
        (None, Some(next)) => format!("next {}", instant(next)),
        (None, None) => "never again".to_owned(),
    }
}

/// What somebody wrote must not move the cursor of whoever reads it.
fn printable(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
}

fn instant(ms: i64) -> String {
    match DateTime::from_timestamp_millis(ms) {
        Some(at) if ms % 1_000 == 0 => at.to_rfc3339_opts(SecondsFormat::Secs, true),
        Some(at) => at.to_rfc3339_opts(SecondsFormat::Millis, true),
        None => format!("{ms} ms"),
    }
}

fn span(ms: u64) -> String {
    humantime::format_duration(Duration::from_millis(ms)).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(change: &[(&str, Value)]) -> Task {
        let mut task = json!({
            "id": "stock", "origin": "operator", "version": 3,
            "schedule": { "kind": "cron", "expression": "30 2 * * *", "zone": "Europe/Berlin", "dst": "once" },
            "payload": { "limit": 7 }, "partition_key": null, "overlap": "skip",
            "catch_up_ms": 60_000, "jitter_ms": 0, "deadline_ms": 3_600_000,
            "retry": { "attempts_max": 5, "backoff_min_ms": 1_000, "backoff_max_ms": 60_000 },
            "paused": null, "next_at": 1_767_225_600_000_i64, "created_at": 0, "updated_at": 1_500,
        });
        for (field, value) in change {
            task[*field] = value.clone();
        }
        serde_json::from_value(task).unwrap()
    }

    #[test]
    fn a_task_is_one_line_in_a_list() {
        assert_eq!(
            task_line(&read(&[])),
            "stock: cron `30 2 * * *` in Europe/Berlin (dst once), next 2026-01-01T00:00:00Z"
        );
        let paused = json!({ "at": 0, "by": "ann", "note": "moving\u{1b}[2J\nhouse" });
        let every = json!({ "kind": "every", "interval_ms": 300_000, "anchor_ms": 0 });
        assert_eq!(
            task_line(&read(&[("paused", paused), ("schedule", every), ("origin", json!("code"))])),
            "stock: every 5m, paused since 1970-01-01T00:00:00Z by ann: moving [2J house, of the release"
        );
        let at = json!({ "kind": "at", "instant_ms": 1_001 });
        assert_eq!(
            task_line(&read(&[("schedule", at), ("next_at", Value::Null)])),
            "stock: once at 1970-01-01T00:00:01.001Z, never again"
        );
    }

    #[test]
    fn a_task_is_shown_whole() {
        let expected = [
            "task      stock",
            "version   3, made by an operator, changed 1970-01-01T00:00:01.500Z",
            "schedule  cron `30 2 * * *` in Europe/Berlin (dst once)",
            "state     next 2026-01-01T00:00:00Z",
            "overlap   skip",
            "catch-up  1m",
            "jitter    0s",
            "deadline  1h",
            "kept      as the service says",
            "retry     5 attempts, 1s to 1m",
            "key       the task's name",
            "payload   {\"limit\":7}",
            "",
        ];
        assert_eq!(task(&read(&[])), expected.join("\n"));
    }

    #[test]
    fn history_is_a_line_an_occurrence() {
        let page: HistoryPage = serde_json::from_value(json!({
            "occurrences": [
                { "instant": 5_000, "state": "waiting", "kind": "manual", "fire_at": 5_000, "attempt": 0 },
                { "instant": 4_000, "state": "waiting", "kind": "scheduled", "fire_at": 9_000, "attempt": 0 },
                { "instant": 3_000, "state": "running", "kind": "scheduled", "fire_at": 3_000, "attempt": 2,
                  "started_at": 4_000, "worker": "w1", "reason": "no\nstock" },
                { "instant": 2_000, "state": "done", "kind": "backfill", "fire_at": 2_000, "attempt": 1,
                  "started_at": 2_000, "ended_at": 2_250, "worker": "w1", "trace_id": "ab" },
                { "instant": 0, "state": "missed", "kind": "scheduled", "fire_at": 0, "attempt": 0,
                  "ended_at": 1_000, "missed": { "until": 1_000, "count": 2 } },
            ],
            "next_cursor": "0",
        }))
        .unwrap();
        let expected = [
            "1970-01-01T00:00:05Z waiting (manual)",
            "1970-01-01T00:00:04Z waiting, begins 1970-01-01T00:00:09Z",
            "1970-01-01T00:00:03Z running, attempt 2, since 1970-01-01T00:00:04Z, on w1, no stock",
            "1970-01-01T00:00:02Z done (backfill), attempt 1, took 250ms, on w1, trace ab",
            "1970-01-01T00:00:00Z missed, 2 until 1970-01-01T00:00:01Z",
            "more with --cursor 0",
            "",
        ];
        assert_eq!(history(&page), expected.join("\n"));
        let nothing = HistoryPage { occurrences: Vec::new(), next_cursor: None };
        assert_eq!(history(&nothing), "no occurrences\n");
    }

    #[test]
    fn instants_and_counts_are_told_in_words() {
        let two = Forecast { instants: vec![0, 86_400_000] };
        assert_eq!(forecast(&two), "1970-01-01T00:00:00Z\n1970-01-02T00:00:00Z\n");
        assert_eq!(forecast(&Forecast { instants: Vec::new() }), "never again\n");
        let due = triggered("t", &Triggered { instant: 1 });
        assert_eq!(due, "t is due now, as its occurrence of 1970-01-01T00:00:00.001Z");
        let made = |occurrences| backfilled("t", &Backfilled { occurrences });
        assert_eq!(made(0), "t has nothing to make up for in that range");
        assert_eq!(made(1), "t makes up for 1 occurrence");
        assert_eq!(made(20), "t makes up for 20 occurrences");
    }
}
