//! The layers of the chain, a file each, in the order in which a request passes them. `server.rs` puts them
//! together.

mod access;
mod facts;
mod home_runtime;
mod last_answer;
mod limits;
mod panic_guard;
mod reply_form;
mod trace;

pub(crate) use access::access;
pub(crate) use facts::Facts;
pub(crate) use home_runtime::home_runtime;
pub(crate) use last_answer::last_answer;
pub(crate) use limits::limits;
pub(crate) use panic_guard::panic_guard;
pub(crate) use reply_form::{no_route, plain, reply_form};
pub(crate) use trace::trace;

use actix_web::Error;
use actix_web::body::BoxBody;
use actix_web::dev::ServiceResponse;

/// What a layer gives back. An `Err` has lost its request: actix answers it without one, so layers that need to
/// know something about the request take it from [`Facts`] beforehand.
pub(crate) type Outcome = Result<ServiceResponse<BoxBody>, Error>;

/// The status that the caller will see.
pub(crate) fn status_of(outcome: &Outcome) -> u16 {
    match outcome {
        Ok(response) => response.status().as_u16(),
        Err(error) => error.as_response_error().status_code().as_u16(),
    }
}
