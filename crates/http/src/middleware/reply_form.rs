//! The one place where an error becomes a reply: in the form that the caller asked for, logged once.

use actix_web::Error;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{HttpRequest, HttpResponse};
use millrace_envelope::ErrorCode;

use super::facts::path_exists;
use super::{Facts, Outcome};
use crate::codes;
use crate::error::ApiError;
use crate::reply::Form;

pub(crate) async fn reply_form(request: ServiceRequest, next: Next<BoxBody>) -> Outcome {
    let form = Facts::of(&request).form;
    let trace_id = millrace_telemetry::current_trace_id();
    let answer = |error: &ApiError| {
        error.log();
        form.render(error, trace_id.as_deref())
    };
    match next.call(request).await {
        Ok(response) => {
            let failed = response.response().error().map(|error| with_api_error(error, answer));
            let reply = failed.or_else(|| bare_error(&response).as_ref().map(answer));
            Ok(match reply {
                Some(reply) => replaced(response, reply),
                None => response,
            })
        }
        Err(error) => {
            let reply = with_api_error(&error, answer);
            Err(InternalError::from_response(error, reply).into())
        }
    }
}

/// Answers every path that no route takes.
pub(crate) async fn no_route(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    Err(if path_exists(&request) {
        ApiError::new(&codes::METHOD_NOT_ALLOWED, "the path doesn't take this method")
    } else {
        ApiError::new(&codes::NOT_FOUND, "there is nothing at this path")
    })
}

/// The form of an error outside the chain, for the admin port.
pub(crate) fn plain(error: &ApiError) -> HttpResponse {
    Form::Reply.render(error, None)
}

/// Ours as it is; one of actix's own by its status, without its text, which may quote internals.
fn with_api_error(error: &Error, answer: impl FnOnce(&ApiError) -> HttpResponse) -> HttpResponse {
    match error.as_error::<ApiError>() {
        Some(own) => answer(own),
        None => {
            let code = code_of(error.as_response_error().status_code().as_u16());
            answer(&ApiError::new(code, lower_first(code.meaning)).with_source(error.to_string()))
        }
    }
}

/// An error status that came without a body, such as the router's own 405.
fn bare_error(response: &ServiceResponse) -> Option<ApiError> {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let is_bare = matches!(response.response().body().size(), BodySize::None | BodySize::Sized(0));
    if !is_error || !is_bare || response.headers().contains_key(header::CONTENT_TYPE) {
        return None;
    }
    let code = code_of(status.as_u16());
    Some(ApiError::new(code, lower_first(code.meaning)))
}

/// Puts the error's reply in the place of the response, keeping what only the response knew: the router's `Allow`,
/// and what layers inside (CORS) have added.
fn replaced(response: ServiceResponse, mut by: HttpResponse) -> ServiceResponse {
    for (name, value) in response.headers() {
        if *name != header::CONTENT_TYPE && !by.headers().contains_key(name) {
            by.headers_mut().insert(name.clone(), value.clone());
        }
    }
    let (request, _) = response.into_parts();
    ServiceResponse::new(request, by)
}

fn code_of(status: u16) -> &'static ErrorCode {
    match status {
        401 => &codes::MISSING_TOKEN,
        403 => &codes::FORBIDDEN,
        404 => &codes::NOT_FOUND,
        405 => &codes::METHOD_NOT_ALLOWED,
        413 => &codes::BODY_TOO_LARGE,
        415 => &codes::UNSUPPORTED_MEDIA_TYPE,
        429 => &codes::RATE_LIMITED,
        431 => &codes::HEADERS_TOO_LARGE,
        502 => &codes::BAD_GATEWAY,
        503 => &codes::UNAVAILABLE,
        504 => &codes::TIMEOUT,
        400..500 => &codes::INVALID_REQUEST,
        _ => &codes::INTERNAL,
    }
}

/// Messages are lowercase without a period, meanings are sentences of the documentation.
fn lower_first(sentence: &str) -> String {
    let sentence = sentence.trim_end_matches('.');
    let mut letters = sentence.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
