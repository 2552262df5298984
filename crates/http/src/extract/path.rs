//! Parts of the path as a type.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// The path's parameters as `T`: one value, a tuple, or a struct whose fields are the template's names.
#[derive(Debug, Clone)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Path<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(read(request).map(Self))
    }
}

fn read<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, ApiError> {
    // The router replaces bytes that are no UTF-8, which would look up another name than the one given.
    if percent_decode_str(request.uri().path()).decode_utf8().is_err() {
        return Err(ApiError::invalid(names(request), "is not UTF-8"));
    }
    actix_web::web::Path::<T>::from_request(request, &mut Payload::None)
        .into_inner()
        .map(actix_web::web::Path::into_inner)
        .map_err(|cause| ApiError::invalid(names(request), format!("has a wrong form ({cause})")))
}

/// The template's parameter names; nearly always one.
fn names(request: &HttpRequest) -> String {
    let names: Vec<&str> = request.match_info().iter().map(|(name, _)| name).collect();
    names.join(", ")
}
