//! The questions: which tasks there are, what they will do, what they did.

use actix_web::web::Data;
use millrace_http::{Admin, ApiError, Json, Path, Query, Reply, ReplyForm};
use millrace_scheduler::Schedules;

use super::dto::{ForecastQuery, HistoryQuery, ListQuery, TaskBody, task_id};
use super::error::told;
use super::replies::{ForecastReply, HistoryPage, TaskPage, TaskReply};

/// Lists the tasks in the order of their names.
#[utoipa::path(
    get, path = "/schedules", tag = "schedules", operation_id = "listSchedules", security(("bearer" = [])),
    params(ListQuery),
    responses(
        (status = 200, description = "A page of tasks.", body = inline(ReplyForm<TaskPage>)),
        (status = 400, description = "`http.invalid_request`"),
        (status = 401, description = "`auth.*`"),
        (status = 403, description = "`auth.forbidden`"),
        (status = 503, description = "`http.unavailable`, with `Retry-After`"),
    ),
)]
pub(super) async fn list(
    _admin: Admin,
    schedules: Data<Schedules>,
    Query(query): Query<ListQuery>,
) -> Result<Reply, ApiError> {
    let after = query.after()?;
    let page = schedules.list(after.as_ref(), query.limit.get()).await.map_err(told)?;
    Ok(Reply::ok(TaskPage::from(page)))
}

/// One task.
#[utoipa::path(
    get, path = "/schedules/{id}", tag = "schedules", operation_id = "getSchedule", security(("bearer" = [])),
    params(("id" = String, Path, description = "The task.")),
    responses(
        (status = 200, description = "The task.", body = inline(ReplyForm<TaskReply>)),
        (status = 400, description = "`http.invalid_request`"),
        (status = 401, description = "`auth.*`"),
        (status = 403, description = "`auth.forbidden`"),
        (status = 404, description = "`schedule.not_found`"),
        (status = 503, description = "`http.unavailable`, with `Retry-After`"),
    ),
)]
pub(super) async fn get(
    _admin: Admin,
    schedules: Data<Schedules>,
    Path(id): Path<String>,
) -> Result<Reply, ApiError> {
    let task = schedules.get(&task_id(&id)?).await.map_err(told)?;
    Ok(Reply::ok(TaskReply::from(task)))
}

/// The next instants of a task's schedule, as if it weren't paused.
#[utoipa::path(
    get, path = "/schedules/{id}/next", tag = "schedules", operation_id = "forecastSchedule",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The task."), ForecastQuery),
    responses(
        (status = 200, description = "Instants, the nearest first.", body = inline(ReplyForm<ForecastReply>)),
        (status = 400, description = "`http.invalid_request`"),
        (status = 401, description = "`auth.*`"),
        (status = 403, description = "`auth.forbidden`"),
        (status = 404, description = "`schedule.not_found`"),
        (status = 503, description = "`http.unavailable`, with `Retry-After`"),
    ),
)]
pub(super) async fn next(
    _admin: Admin,
    schedules: Data<Schedules>,
    Path(id): Path<String>,
    Query(query): Query<ForecastQuery>,
) -> Result<Reply, ApiError> {
    let instants = schedules.next(&task_id(&id)?, query.count.get()).await.map_err(told)?;
    Ok(Reply::ok(ForecastReply::from(instants)))
}

/// What a task did, the last occurrence first. A removed task's history stays until it is old.
#[utoipa::path(
    get, path = "/schedules/{id}/history", tag = "schedules", operation_id = "scheduleHistory",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The task."), HistoryQuery),
    responses(
        (status = 200, description = "A page of occurrences; empty for a task that never was.", body = inline(ReplyForm<HistoryPage>)),
        (status = 400, description = "`http.invalid_request`"),
        (status = 401, description = "`auth.*`"),
        (status = 403, description = "`auth.forbidden`"),
        (status = 503, description = "`http.unavailable`, with `Retry-After`"),
    ),
)]
pub(super) async fn history(
    _admin: Admin,
    schedules: Data<Schedules>,
    Path(id): Path<String>,
    Query(query): Query<HistoryQuery>,
) -> Result<Reply, ApiError> {
    let (id, before) = (task_id(&id)?, query.before()?);
    let state = query.state.map(Into::into);
    let page = schedules.history(&id, before, state, query.limit.get()).await.map_err(told)?;
    Ok(Reply::ok(HistoryPage::from(page)))
}

/// Checks a task that is kept nowhere, and tells its next instants.
#[utoipa::path(
    post, path = "/schedules/dry-run", tag = "schedules", operation_id = "dryRunSchedule",
    security(("bearer" = [])),
    params(ForecastQuery),
    request_body = TaskBody,
    responses(
        (status = 200, description = "Instants, the nearest first.", body = inline(ReplyForm<ForecastReply>)),
        (status = 400, description = "`http.invalid_request`, `http.malformed_json`"),
        (status = 401, description = "`auth.*`"),
        (status = 403, description = "`auth.forbidden`"),
        (status = 413, description = "`http.body_too_large`"),
        (status = 415, description = "`http.unsupported_media_type`"),
        (status = 422, description = "`schedule.bad_expression`, `schedule.unknown_zone`, `schedule.bad_interval`, `schedule.bad_payload`, `schedule.invalid`"),
        (status = 503, description = "`http.unavailable`, with `Retry-After`"),
    ),
)]
pub(super) async fn dry_run(
    _admin: Admin,
    schedules: Data<Schedules>,
    Query(query): Query<ForecastQuery>,
    Json(body): Json<TaskBody>,
) -> Result<Reply, ApiError> {
    let instants = schedules.dry_run(body.form(), query.count.get()).await.map_err(told)?;
    Ok(Reply::ok(ForecastReply::from(instants)))
}
