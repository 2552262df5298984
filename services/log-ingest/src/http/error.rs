//! What can go wrong in a search, and what its caller is told.

use std::time::Duration;

use millrace_common::http::ApiError;
use millrace_common::http::cursor::BadCursor;
use millrace_common::outbox::StoreError;
use millrace_contracts::codes;

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a search was not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SearchFailed {
    /// The cursor is forged, altered or of another search.
    #[error(transparent)]
    Cursor(#[from] BadCursor),
    /// `to` lies before `from`.
    #[error("range of time ends before it begins")]
    Range,
    /// The next page's cursor could not be written.
    #[error("cursor was not written")]
    CursorWrite(#[source] serde_json::Error),
    /// The database did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<SearchFailed> for ApiError {
    fn from(failed: SearchFailed) -> Self {
        match failed {
            SearchFailed::Cursor(BadCursor) => {
                Self::new(&codes::SEARCH_BAD_CURSOR, "the cursor does not belong to this search")
            }
            SearchFailed::Range => Self::invalid("to", "must not be before `from`"),
            SearchFailed::CursorWrite(cause) => Self::internal(cause),
            SearchFailed::Store(cause) if cause.is_unavailable() => {
                Self::new(&codes::STORE_UNAVAILABLE, "the logs can't be read at the moment")
                    .with_retry_after(RETRY_AFTER)
                    .with_source(cause)
            }
            SearchFailed::Store(cause) => {
                Self::new(&codes::STORE_FAILED, "the search failed").with_source(cause)
            }
        }
    }
}
