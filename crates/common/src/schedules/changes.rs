//! The changes. Each is one transaction with its audit record; whoever the token speaks for is who did it.

use actix_web::web::Data;
use millrace_http::{Admin, ApiError, Json, Path, Query, Reply, ReplyForm};
use millrace_scheduler::Schedules;

use super::dto::{BackfillBody, PauseBody, TaskBody, VersionQuery, task_id};
use super::error::told;
use super::replies::{BackfilledReply, RemovedReply, TaskReply, TriggeredReply};

/// Makes a task, or gives one another form.
///
/// Without `expected_version`, or with 0, the task must not exist yet. The next instant is the first one from now on.
#[utoipa::path(
    put, path = "/schedules/{id}", tag = "schedules", operation_id = "putSchedule", security(("bearer" = [])),
    params(("id" = String, Path, description = "The task."), VersionQuery),
    request_body = TaskBody,
    responses(
        (status = 200, description = "Changed.", body = inline(ReplyForm<TaskReply>)),
        (status = 201, description = "Made.", body = inline(ReplyForm<TaskReply>)),
        (status = 400, description = "`http.invalid_request`, `http.malformed_json`"),
        (status = 401, description = "`auth.*`"),
        (status = 403, description = "`auth.forbidden`"),
        (status = 409, description = "`schedule.version_conflict`, `schedule.declared_in_code`"),
        (status = 413, description = "`http.body_too_large`"),
        (status = 415, description = "`http.unsupported_media_type`"),
        (status = 422, description = "`schedule.bad_expression`, `schedule.unknown_zone`, `schedule.bad_interval`, `schedule.bad_payload`, `schedule.invalid`"),
        (status = 503, description = "`http.unavailable`, with `Retry-After`"),
    ),
)]
pub(super) async fn put(
    Admin(caller): Admin,
    schedules: Data<Schedules>,
    Path(id): Path<String>,
    Query(version): Query<VersionQuery>,
    Json(body): Json<TaskBody>,
) -> Result<Reply, ApiError> {
    let (id, expected) = (task_id(&id)?, version.get()?.filter(|version| *version > 0));
    let put = schedules.put(&id, body.form(), expected, &caller.subject);
    let task = TaskReply::from(put.await.map_err(told)?);
    Ok(if expected.is_none() { Reply::created(task) } else { Reply::ok(task) })
}

/// Removes a task and ends what is open of it. Its history stays until it is old.
#[utoipa::path(
    delete, path = "/schedules/{id}", tag = "schedules", operation_id = "removeSchedule",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The task."), VersionQuery),
    responses(
        (status = 200, description = "Removed.", body = inline(ReplyForm<RemovedReply>)),
        (status = 400, description = "`http.invalid_request`, also without `expected_version`"),
        (status = 401, description = "`auth.*`"),
        (status = 403, description = "`auth.forbidden`"),
        (status = 404, description = "`schedule.not_found`"),
        (status = 409, description = "`schedule.version_conflict`, `schedule.declared_in_code`"),
        (status = 503, description = "`http.unavailable`, with `Retry-After`"),
    ),
)]
pub(super) async fn remove(
    Admin(caller): Admin,
    schedules: Data<Schedules>,
    Path(id): Path<String>,
    Query(version): Query<VersionQuery>,
) -> Result<Reply, ApiError> {
    let (id, expected) = (task_id(&id)?, version.required()?);
    schedules.remove(&id, expected, &caller.subject).await.map_err(told)?;
    Ok(Reply::ok(RemovedReply { id: id.to_string() }))
}

/// Lets nothing new begin. What is open goes on.
#[utoipa::path(
    post, path = "/schedules/{id}/pause", tag = "schedules", operation_id = "pauseSchedule",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The task."), VersionQuery),
    request_body = PauseBody,
    responses(
        (status = 200, description = "Paused; a task that was paused has the new note.", body = inline(ReplyForm<TaskReply>)),
        (status = 400, description = "`http.invalid_request`, also for a note that is empty or too long"),
        (status = 401, description = "`auth.*`"),
        (status = 403, description = "`auth.forbidden`"),
        (status = 404, description = "`schedule.not_found`"),
        (status = 409, description = "`schedule.version_conflict`"),
        (status = 503, description = "`http.unavailable`, with `Retry-After`"),
    ),
)]
pub(super) async fn pause(
    Admin(caller): Admin,
    schedules: Data<Schedules>,
    Path(id): Path<String>,
    Query(version): Query<VersionQuery>,
    Json(body): Json<PauseBody>,
) -> Result<Reply, ApiError> {
    let (id, expected) = (task_id(&id)?, version.get()?);
    let pause = schedules.pause(&id, &body.note, expected, &caller.subject);
    Ok(Reply::ok(TaskReply::from(pause.await.map_err(told)?)))
}

/// Lets a task go on from now. What would have begun while it was paused is not made up for.
#[utoipa::path(
    post, path = "/schedules/{id}/resume", tag = "schedules", operation_id = "resumeSchedule",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The task."), VersionQuery),
    responses(
        (status = 200, description = "It goes on, or went on before.", body = inline(ReplyForm<TaskReply>)),
        (status = 400, description = "`http.invalid_request`"),
        (status = 401, description = "`auth.*`"),
        (status = 403, description = "`auth.forbidden`"),
        (status = 404, description = "`schedule.not_found`"),
        (status = 409, description = "`schedule.version_conflict`"),
        (status = 503, description = "`http.unavailable`, with `Retry-After`"),
    ),
)]
pub(super) async fn resume(
    Admin(caller): Admin,
    schedules: Data<Schedules>,
    Path(id): Path<String>,
    Query(version): Query<VersionQuery>,
) -> Result<Reply, ApiError> {
    let (id, expected) = (task_id(&id)?, version.get()?);
    let task = schedules.resume(&id, expected, &caller.subject).await.map_err(told)?;
    Ok(Reply::ok(TaskReply::from(task)))
}

/// Makes an occurrence that is due now. Each call makes one of its own: whoever repeats it looks at the history first.
#[utoipa::path(
    post, path = "/schedules/{id}/trigger", tag = "schedules", operation_id = "triggerSchedule",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The task.")),
    responses(
        (status = 202, description = "It will begin as the overlap policy says.", body = inline(ReplyForm<TriggeredReply>)),
        (status = 400, description = "`http.invalid_request`"),
        (status = 401, description = "`auth.*`"),
        (status = 403, description = "`auth.forbidden`"),
        (status = 404, description = "`schedule.not_found`"),
        (status = 409, description = "`schedule.paused`"),
        (status = 503, description = "`http.unavailable`, with `Retry-After`"),
    ),
)]
pub(super) async fn trigger(
    Admin(caller): Admin,
    schedules: Data<Schedules>,
    Path(id): Path<String>,
) -> Result<Reply, ApiError> {
    let instant = schedules.trigger(&task_id(&id)?, &caller.subject).await.map_err(told)?;
    Ok(Reply::accepted(TriggeredReply::from(instant)))
}

/// Makes the occurrences of a range of the past that never happened. Repeating it makes none twice.
#[utoipa::path(
    post, path = "/schedules/{id}/backfill", tag = "schedules", operation_id = "backfillSchedule",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The task.")),
    request_body = BackfillBody,
    responses(
        (status = 202, description = "They will begin as their overlap policy says.", body = inline(ReplyForm<BackfilledReply>)),
        (status = 400, description = "`http.invalid_request`, also for a `max` out of bounds"),
        (status = 401, description = "`auth.*`"),
        (status = 403, description = "`auth.forbidden`"),
        (status = 404, description = "`schedule.not_found`"),
        (status = 409, description = "`schedule.paused`"),
        (status = 422, description = "`schedule.bad_range`, `schedule.too_many_occurrences`"),
        (status = 503, description = "`http.unavailable`, with `Retry-After`"),
    ),
)]
pub(super) async fn backfill(
    Admin(caller): Admin,
    schedules: Data<Schedules>,
    Path(id): Path<String>,
    Json(body): Json<BackfillBody>,
) -> Result<Reply, ApiError> {
    let id = task_id(&id)?;
    let backfill = schedules.backfill(&id, body.range(), &caller.subject);
    Ok(Reply::accepted(BackfilledReply { occurrences: backfill.await.map_err(told)? }))
}
