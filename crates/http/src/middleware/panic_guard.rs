//! A handler that panics costs its own request and nothing else.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use actix_web::body::BoxBody;
use actix_web::dev::ServiceRequest;
use actix_web::middleware::Next;
use futures::FutureExt;

use super::Outcome;
use crate::error::ApiError;

pub(crate) async fn panic_guard(request: ServiceRequest, next: Next<BoxBody>) -> Outcome {
    // The state that a panic may leave half changed is the request's own, which ends here; what is shared is
    // behind locks that forgive poisoning or transactions that roll back.
    match AssertUnwindSafe(next.call(request)).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => {
            let error =
                ApiError::internal(format!("handler panicked: {}", text_of(panic.as_ref())));
            // The hook that telemetry installs has logged it with the place in the code.
            Err(if millrace_telemetry::panics_are_logged() { error.logged() } else { error }.into())
        }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
