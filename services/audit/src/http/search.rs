//! `GET /api/v1/audit/records`.

use actix_web::web::Data;
use millrace_common::http::{Admin, ApiError, Query, Reply, ReplyForm};

use super::SearchState;
use super::dto::{RecordDto, RecordPage, SearchQuery};
use super::error::SearchFailed;
use crate::app;

/// Searches the audit trail, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/audit/records",
    tag = "audit",
    params(SearchQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page of records.", body = ReplyForm<RecordPage>),
        (status = 400, description = "A parameter is unknown or wrong (it is named), or the cursor is of another search."),
        (status = 401, description = "No token, or one that is not valid."),
        (status = 403, description = "The token's bearer is no administrator."),
        (status = 503, description = "The database can't be reached; see Retry-After."),
    )
)]
pub(crate) async fn search(
    _admin: Admin,
    state: Data<SearchState>,
    Query(query): Query<SearchQuery>,
) -> Result<Reply, ApiError> {
    Ok(Reply::ok(page(&state, query).await?))
}

async fn page(state: &SearchState, query: SearchQuery) -> Result<RecordPage, SearchFailed> {
    let (binding, limit, cursor) = query.split();
    if !binding.ordered() {
        return Err(SearchFailed::Range);
    }
    let after = cursor.map(|text| state.signer.decode(&text, &binding)).transpose()?;
    let page = app::search_records(&state.pool, &binding.filter(), after, limit).await?;
    let sign = |next| state.signer.encode(&next, &binding);
    let next_cursor = page.next.map(sign).transpose().map_err(SearchFailed::CursorWrite)?;
    Ok(RecordPage { records: page.items.into_iter().map(RecordDto::from).collect(), next_cursor })
}
