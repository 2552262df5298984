//! The query string as a type.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::serde_problem::{field_problem, unknown_field};
use crate::codes;
use crate::error::ApiError;

/// The query string as `T`, with no unknown parameter.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequest for Query<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(read(request.query_string()).map(Self))
    }
}

fn read<T: DeserializeOwned>(query: &str) -> Result<T, ApiError> {
    // The form reader replaces bytes that are no UTF-8; a search for a replacement character helps nobody.
    for pair in query.split('&') {
        if percent_decode_str(pair).decode_utf8().is_err() {
            let name = pair.split('=').next().unwrap_or_default();
            return Err(ApiError::invalid(name, "is not UTF-8"));
        }
    }
    let mut unknown = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| unknown.push(path.to_string());
    let reader = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
    let watched = serde_ignored::Deserializer::new(reader, &mut note);
    let value = serde_path_to_error::deserialize(watched).map_err(|error| {
        let found = field_problem(error.path(), &error.inner().to_string());
        ApiError::invalid(found.field, found.problem)
    })?;
    if unknown.is_empty() {
        return Ok(value);
    }
    let refusal =
        ApiError::new(&codes::INVALID_REQUEST, "the query has parameters that are not known here");
    Err(unknown
        .iter()
        .map(|path| unknown_field(path))
        .fold(refusal, |refusal, found| refusal.field(found.field, found.problem)))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Page {
        limit: Option<u16>,
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        assert_eq!(read::<Page>("limit=5").expect("good").limit, Some(5));
        assert_eq!(read::<Page>("").expect("good").limit, None);
        for (query, field) in [
            ("limit=x", "limit"),
            ("limit=70000", "limit"),
            ("limt=1", "limt"),
            ("limit=%ff", "limit"),
        ] {
            let error = read::<Page>(query).expect_err(query);
            assert_eq!(error.data(None)["fields"][0]["field"], field, "{query}");
        }
    }
}
