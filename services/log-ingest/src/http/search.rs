//! `GET /api/v1/logs`.

use actix_web::web::Data;
use millrace_common::http::{Admin, ApiError, Query, Reply, ReplyForm};

use super::SearchState;
use super::dto::{LineDto, LinePage, SearchQuery};
use super::error::SearchFailed;
use crate::search::search_lines;

/// Searches the request logs, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/logs",
    tag = "logs",
    params(SearchQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page of lines.", body = ReplyForm<LinePage>),
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

async fn page(state: &SearchState, query: SearchQuery) -> Result<LinePage, SearchFailed> {
    let (binding, limit, cursor) = query.split();
    if !binding.ordered() {
        return Err(SearchFailed::Range);
    }
    let after = cursor.map(|text| state.signer.decode(&text, &binding)).transpose()?;
    let page = search_lines(&state.pool, &binding.filter(), after, limit).await?;
    let sign = |next| state.signer.encode(&next, &binding);
    let next_cursor = page.next.map(sign).transpose().map_err(SearchFailed::CursorWrite)?;
    Ok(LinePage { lines: page.items.into_iter().map(LineDto::from).collect(), next_cursor })
}
