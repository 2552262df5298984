//! How long the caller is going to wait.

use std::future::{Ready, ready};
use std::time::Instant;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use millrace_resilience::Deadline;

use crate::chain::Chain;
use crate::error::ApiError;

/// The request's deadline, to be cut down for each further hop.
#[derive(Debug, Clone, Copy)]
pub struct RequestDeadline(pub Deadline);

impl FromRequest for RequestDeadline {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let set = request.extensions().get::<Self>().copied();
        // The deadline layer sets it for every request; a scope that left the layer out gets the longest one.
        let longest = || Self(Deadline::after(Instant::now(), Chain::of(request).deadline));
        ready(Ok(set.unwrap_or_else(longest)))
    }
}
