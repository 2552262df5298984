//! Refusals and failures as replies, by exhaustive match.

use std::time::Duration;

use millrace_common::envelope::ErrorCode;
use millrace_common::http::{ApiError, Reply};
use millrace_common::outbox::idempotency::KeyError;
use millrace_common::resilience::{Class, Classify};
use millrace_contracts::codes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::Failure;
use crate::app::adjust_stock::Answer;
use crate::domain::{AdjustStockRefusal, PutProductRefusal, Sku};

/// A database that is away is usually back soon.
const STORE_RETRY: Duration = Duration::from_secs(1);
/// An adjustment takes milliseconds.
const IN_FLIGHT_RETRY: Duration = Duration::from_secs(1);

pub(super) fn failed(failure: Failure) -> ApiError {
    match failure {
        Failure::Store(error) => match error.class() {
            Class::Transient => {
                ApiError::new(&codes::STORE_UNAVAILABLE, "the database can't be reached right now")
                    .with_retry_after(STORE_RETRY)
                    .with_source(error)
            }
            Class::Permanent => {
                ApiError::new(&codes::STORE_FAILED, "the request could not be stored")
                    .with_source(error)
            }
        },
        Failure::Encode(error) => ApiError::internal(error),
    }
}

pub(super) fn not_found(sku: &Sku) -> ApiError {
    ApiError::new(&codes::PRODUCT_NOT_FOUND, format!("there is no product `{sku}`"))
}

pub(super) fn put_refused(refusal: &PutProductRefusal) -> ApiError {
    match refusal {
        PutProductRefusal::VersionConflict { expected, actual, .. } => {
            ApiError::new(&codes::PRODUCT_VERSION_CONFLICT, refusal.to_string())
                .with_data(json!({ "expected_version": expected, "row_version": actual }))
        }
    }
}

pub(super) fn key_missing() -> ApiError {
    let code = &codes::IDEMPOTENCY_KEY_MISSING;
    ApiError::new(code, "the request needs an Idempotency-Key header")
        .field("idempotency-key", "is missing")
}

pub(super) fn key_malformed(problem: &str) -> ApiError {
    let code = &codes::IDEMPOTENCY_KEY_MALFORMED;
    ApiError::new(code, "the Idempotency-Key header has a wrong form")
        .field("idempotency-key", problem)
}

impl From<KeyProblem> for ApiError {
    fn from(problem: KeyProblem) -> Self {
        match problem {
            KeyProblem::Missing => key_missing(),
            KeyProblem::GivenTwice => key_malformed("is given twice"),
            KeyProblem::NotText => key_malformed("must consist of visible ASCII characters"),
            KeyProblem::Malformed(cause) => key_malformed(&cause.to_string()),
        }
    }
}

/// What can be wrong with the header.
#[derive(Debug)]
pub(super) enum KeyProblem {
    Missing,
    GivenTwice,
    NotText,
    Malformed(KeyError),
}

pub(super) fn key_reused() -> ApiError {
    let code = &codes::IDEMPOTENCY_KEY_REUSED;
    ApiError::new(code, "this Idempotency-Key came before with another request")
}

pub(super) fn in_flight() -> ApiError {
    let code = &codes::IDEMPOTENCY_IN_FLIGHT;
    ApiError::new(code, "a request with this Idempotency-Key is being worked on")
        .with_retry_after(IN_FLIGHT_RETRY)
}

/// A refusal in the form in which it is stored beside successes.
#[derive(Debug, Serialize, Deserialize)]
struct StoredRefusal {
    code: String,
    message: String,
    data: Value,
}

/// The answer to store for a refused adjustment.
pub(super) fn adjust_refused(refusal: &AdjustStockRefusal) -> Answer {
    let (code, data): (&ErrorCode, Value) = match refusal {
        AdjustStockRefusal::NotEnoughFree { free, .. } => {
            (&codes::STOCK_NOT_ENOUGH_FREE, json!({ "free": free }))
        }
        AdjustStockRefusal::LimitExceeded { loaded_max, .. } => {
            (&codes::STOCK_LIMIT_EXCEEDED, json!({ "loaded_max": loaded_max }))
        }
    };
    let stored = StoredRefusal { code: code.code.to_owned(), message: refusal.to_string(), data };
    Answer { status: code.status, body: json!(stored).to_string() }
}

/// An answer as the reply that it is: a stored refusal goes through the same door as a fresh one, so the caller may
/// ask for either form of it.
pub(super) fn answered(answer: Answer) -> Result<Reply, ApiError> {
    let refused = [&codes::STOCK_NOT_ENOUGH_FREE, &codes::STOCK_LIMIT_EXCEEDED]
        .into_iter()
        .find(|code| code.status == answer.status);
    let Some(code) = refused else {
        return Ok(Reply::raw(answer.status, answer.body));
    };
    match serde_json::from_str::<StoredRefusal>(&answer.body) {
        Ok(stored) => Err(ApiError::new(code, stored.message).with_data(stored.data)),
        Err(cause) => Err(ApiError::internal(cause)),
    }
}

#[cfg(test)]
mod tests {
    use millrace_common::outbox::StoreError;

    use super::*;

    #[test]
    fn a_database_that_is_away_is_told_from_one_that_refuses() {
        let away = failed(Failure::Store(StoreError(sqlx::Error::PoolTimedOut)));
        assert_eq!(away.code().code, "store.unavailable");
        let refused = failed(Failure::Store(StoreError(sqlx::Error::RowNotFound)));
        assert_eq!(refused.code().code, "store.failed");
    }

    #[test]
    fn a_stored_refusal_comes_back_as_itself() {
        let sku = Sku::parse("a").unwrap();
        for refusal in [
            AdjustStockRefusal::NotEnoughFree { sku: sku.clone(), free: 3 },
            AdjustStockRefusal::LimitExceeded { sku, loaded_max: 9 },
        ] {
            let answer = adjust_refused(&refusal);
            let status = answer.status;
            let error = answered(answer).expect_err("a refusal");
            assert_eq!(error.status().as_u16(), status);
            assert_eq!(error.message(), refusal.to_string());
        }
    }

    #[test]
    fn refusals_that_are_stored_are_told_apart_by_their_status() {
        assert_ne!(codes::STOCK_NOT_ENOUGH_FREE.status, codes::STOCK_LIMIT_EXCEEDED.status);
    }
}
