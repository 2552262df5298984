//! What use cases fail with, and what the caller is told. Every match is exhaustive: a new way to fail must choose
//! its code here.

use std::time::Duration;

use millrace_common::http::ApiError;
use millrace_common::http::cursor::BadCursor;
use millrace_common::resilience::{Class, Classify};
use millrace_contracts::codes;

use super::callback_signature::Distrust;
use crate::app::Failure;
use crate::app::cancel_order::CancelOrderError;
use crate::app::place_order::PlaceOrderError;
use crate::app::receive_payment::ReceivePaymentError;
use crate::domain::{CancelRefusal, OrderId, PlaceOrderRefusal};

/// How long a caller waits before it asks again: a restart of the database or another request's end.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) fn order_not_found(id: OrderId) -> ApiError {
    ApiError::new(&codes::ORDER_NOT_FOUND, format!("there is no order `{id}` of yours"))
}

pub(super) fn bad_cursor(_: BadCursor) -> ApiError {
    ApiError::new(&codes::SEARCH_BAD_CURSOR, "the cursor does not belong to this list")
        .field("cursor", "was not given out for this list, or was altered")
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        match failure.class() {
            Class::Transient => {
                Self::new(&codes::STORE_UNAVAILABLE, "orders can't be reached at the moment")
                    .with_retry_after(RETRY_AFTER)
                    .with_source(failure)
            }
            Class::Permanent => {
                Self::new(&codes::STORE_FAILED, "the request could not be carried out")
                    .with_source(failure)
            }
        }
    }
}

impl From<PlaceOrderError> for ApiError {
    fn from(error: PlaceOrderError) -> Self {
        match error {
            PlaceOrderError::Refused(refusal) => refusal.into(),
            PlaceOrderError::KeyReused => key_reused("Idempotency-Key"),
            PlaceOrderError::InFlight => in_flight(),
            PlaceOrderError::Failed(failure) => failure.into(),
        }
    }
}

impl From<PlaceOrderRefusal> for ApiError {
    fn from(refusal: PlaceOrderRefusal) -> Self {
        match refusal {
            PlaceOrderRefusal::UnknownSku { index, sku } => {
                Self::new(&codes::ORDER_UNKNOWN_SKU, format!("product `{sku}` is not sold"))
                    .field(format!("lines[{index}].sku"), "is not sold")
            }
            PlaceOrderRefusal::MixedCurrencies { index, .. } => {
                Self::new(&codes::ORDER_MIXED_CURRENCIES, "the lines have different currencies")
                    .field(
                        format!("lines[{index}].sku"),
                        "is priced in another currency than the first line",
                    )
            }
            PlaceOrderRefusal::TotalTooLarge => Self::new(
                &codes::ORDER_TOTAL_TOO_LARGE,
                "the order's total is beyond what can be charged",
            )
            .field("lines", "cost too much together"),
        }
    }
}

impl From<CancelOrderError> for ApiError {
    fn from(error: CancelOrderError) -> Self {
        match error {
            CancelOrderError::NotFound(id) => order_not_found(id),
            CancelOrderError::Refused(CancelRefusal { status }) => {
                let status = status.as_str();
                let message = format!("an order that is `{status}` can't be cancelled");
                Self::new(&codes::ORDER_NOT_CANCELLABLE, message)
                    .with_data(serde_json::json!({ "status": status }))
            }
            CancelOrderError::Failed(failure) => failure.into(),
        }
    }
}

impl From<ReceivePaymentError> for ApiError {
    fn from(error: ReceivePaymentError) -> Self {
        match error {
            ReceivePaymentError::UnknownOrder(id) => {
                Self::new(&codes::PAYMENT_UNKNOWN_ORDER, format!("there is no order `{id}`"))
                    .field("order_id", "names no order")
            }
            ReceivePaymentError::KeyReused => key_reused("payment_id"),
            ReceivePaymentError::InFlight => in_flight(),
            ReceivePaymentError::Failed(failure) => failure.into(),
        }
    }
}

impl From<Distrust> for ApiError {
    fn from(distrust: Distrust) -> Self {
        match distrust {
            Distrust::Header(name) => {
                Self::new(&codes::PAYMENT_BAD_SIGNATURE, "the callback is not signed")
                    .field(name, "must be given once")
            }
            Distrust::Signature => {
                Self::new(&codes::PAYMENT_BAD_SIGNATURE, "the callback's signature is wrong").field(
                    super::callback_signature::SIGNATURE_HEADER,
                    "must be `v1=` and the HMAC-SHA256 of timestamp, a dot and the body",
                )
            }
            Distrust::OutsideWindow => {
                Self::new(&codes::PAYMENT_OUTSIDE_WINDOW, "the callback's time is too far from now")
                    .field(
                        super::callback_signature::TIMESTAMP_HEADER,
                        "must be the seconds since 1970-01-01 UTC, close to now",
                    )
            }
        }
    }
}

fn key_reused(field: &str) -> ApiError {
    ApiError::new(
        &codes::IDEMPOTENCY_KEY_REUSED,
        format!("this {field} came before with another request"),
    )
    .field(field, "came before with another request")
}

fn in_flight() -> ApiError {
    ApiError::new(&codes::IDEMPOTENCY_IN_FLIGHT, "the same request is being worked on")
        .with_retry_after(RETRY_AFTER)
}
