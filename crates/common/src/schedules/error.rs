//! What the scheduler refuses, and what the caller is told. The match is exhaustive: a new refusal must choose its code
//! here.

use std::time::Duration;

use millrace_envelope::ErrorCode;
use millrace_http::ApiError;
use millrace_resilience::{Class, Classify};
use millrace_scheduler::ScheduleError;
use millrace_scheduler::task::{SpecProblem, SpecRefused};

use crate::codes;

/// How long a caller waits before it asks again: a restart of the database.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) fn told(error: ScheduleError) -> ApiError {
    let message = error.to_string();
    match &error {
        ScheduleError::Unknown { .. } => ApiError::new(&codes::SCHEDULE_NOT_FOUND, message),
        ScheduleError::Conflict { id, expected, actual } => {
            // Version 0 is the one before a task is made.
            let exists = (*expected == 0).then(|| format!("task `{id}` exists already"));
            let seen = serde_json::json!({ "expected_version": expected, "version": actual });
            ApiError::new(&codes::SCHEDULE_VERSION_CONFLICT, exists.unwrap_or(message))
                .with_data(seen)
        }
        ScheduleError::DeclaredInCode { .. } => {
            ApiError::new(&codes::SCHEDULE_DECLARED_IN_CODE, message)
        }
        ScheduleError::Paused { .. } => ApiError::new(&codes::SCHEDULE_PAUSED, message),
        ScheduleError::Spec(refused) => spec_refused(refused),
        ScheduleError::Note { max } => {
            ApiError::invalid("note", format!("must have 1 to {max} characters and no NUL"))
        }
        ScheduleError::Range => ApiError::new(&codes::SCHEDULE_BAD_RANGE, message)
            .field("to", "must not be before `from`, nor in the future"),
        ScheduleError::TooMany { max } => {
            ApiError::new(&codes::SCHEDULE_TOO_MANY_OCCURRENCES, message)
                .field("max", format!("is {max}, and the range has more"))
        }
        ScheduleError::Limit => ApiError::invalid("max", message),
        ScheduleError::Forecast => ApiError::invalid("count", message),
        ScheduleError::Unreadable { .. } => {
            ApiError::new(&codes::SCHEDULE_UNREADABLE, message).with_source(error)
        }
        ScheduleError::Store(_) if error.class() == Class::Transient => {
            ApiError::unavailable(RETRY_AFTER, error)
        }
        ScheduleError::Store(_) | ScheduleError::Encode(_) => ApiError::internal(error),
    }
}

/// Every problem with its field; the code of the problem if there is one, or all are of one kind.
fn spec_refused(refused: &SpecRefused) -> ApiError {
    let of_first = refused.problems.first().map(|found| code_of(found.field));
    let same = |code: &&'static ErrorCode| {
        refused.problems.iter().all(|found| code_of(found.field).code == code.code)
    };
    let code = of_first.filter(same).unwrap_or(&codes::SCHEDULE_INVALID);
    refused.problems.iter().fold(
        ApiError::new(code, "the task makes no sense as it is"),
        |told, SpecProblem { field, problem }| told.field(sent_as(field), problem.as_str()),
    )
}

fn code_of(field: &str) -> &'static ErrorCode {
    match field {
        "schedule.expression" => &codes::SCHEDULE_BAD_EXPRESSION,
        "schedule.zone" => &codes::SCHEDULE_UNKNOWN_ZONE,
        "schedule.interval" => &codes::SCHEDULE_BAD_INTERVAL,
        "payload" => &codes::SCHEDULE_BAD_PAYLOAD,
        _ => &codes::SCHEDULE_INVALID,
    }
}

/// The field's name in JSON, where spans and instants carry their unit.
fn sent_as(field: &str) -> String {
    let carries_unit = [
        "schedule.interval",
        "schedule.anchor",
        "schedule.instant",
        "catch_up",
        "jitter",
        "deadline",
        "retention",
        "retry.backoff_min",
        "retry.backoff_max",
    ];
    if carries_unit.contains(&field) { format!("{field}_ms") } else { field.to_owned() }
}
