//! A JSON body as a type.

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest};
use futures::future::LocalBoxFuture;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::body::RawBody;
use super::serde_problem::{field_problem, unknown_field};
use crate::codes;
use crate::error::ApiError;

/// The body as `T`: bounded, UTF-8, `content-type: application/json`, no unknown field at any depth.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Json<T> {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let is_json = is_json(request);
        let body = RawBody::from_request(request, payload);
        Box::pin(async move {
            if !is_json {
                return Err(ApiError::new(
                    &codes::UNSUPPORTED_MEDIA_TYPE,
                    "the body must be sent as `content-type: application/json`",
                )
                .field("content-type", "must be application/json"));
            }
            json_from_slice(&body.await?.0).map(Self)
        })
    }
}

/// Reads bytes that were taken as [`RawBody`] the way [`Json`] does: for a handler that also needs the bytes, for
/// a fingerprint or a signature.
///
/// # Errors
/// `http.malformed_json`, or `http.invalid_request` naming the field.
pub fn json_from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ApiError::new(&codes::MALFORMED_JSON, "the body is not UTF-8"))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let mut unknown = Vec::new();
    let mut note = |path: serde_ignored::Path<'_>| unknown.push(path.to_string());
    let watched = serde_ignored::Deserializer::new(&mut reader, &mut note);
    let value: T = serde_path_to_error::deserialize(watched).map_err(|error| {
        let inner = error.inner();
        match inner.classify() {
            Category::Data => {
                let found = field_problem(error.path(), &inner.to_string());
                ApiError::invalid(found.field, found.problem)
            }
            Category::Io | Category::Syntax | Category::Eof => malformed(inner),
        }
    })?;
    reader.end().map_err(|cause| malformed(&cause))?;
    if unknown.is_empty() {
        return Ok(value);
    }
    let refusal =
        ApiError::new(&codes::INVALID_REQUEST, "the body has fields that are not known here");
    Err(unknown
        .iter()
        .map(|path| unknown_field(path))
        .fold(refusal, |refusal, found| refusal.field(found.field, found.problem)))
}

fn malformed(cause: &serde_json::Error) -> ApiError {
    let message = format!("the body is not JSON: line {}, column {}", cause.line(), cause.column());
    ApiError::new(&codes::MALFORMED_JSON, message)
}

fn is_json(request: &HttpRequest) -> bool {
    let Some(Ok(value)) = request.headers().get(header::CONTENT_TYPE).map(|value| value.to_str())
    else {
        return false;
    };
    let mut parts = value.split(';').map(str::trim);
    let is_json =
        parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    is_json
        && parts.all(|parameter| {
            let charset = parameter.to_ascii_lowercase();
            !charset.starts_with("charset=") || charset.trim_matches('"').ends_with("utf-8")
        })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Basket {
        #[expect(dead_code, reason = "only read by serde")]
        owner: Option<String>,
        #[expect(dead_code, reason = "only read by serde")]
        lines: Vec<Line>,
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        #[expect(dead_code, reason = "only read by serde")]
        sku: String,
        #[expect(dead_code, reason = "only read by serde")]
        quantity: u32,
    }

    fn refused(body: &[u8]) -> (&'static str, Vec<(String, String)>) {
        let error = json_from_slice::<Basket>(body).expect_err("bad input");
        let fields = error.data(None)["fields"].as_array().cloned().unwrap_or_default();
        let text = |value: &serde_json::Value, key: &str| {
            value[key].as_str().unwrap_or_default().to_owned()
        };
        let fields = fields.iter().map(|it| (text(it, "field"), text(it, "problem"))).collect();
        (error.code().code, fields)
    }

    fn field(body: &str) -> String {
        let (code, fields) = refused(body.as_bytes());
        assert_eq!(code, "http.invalid_request", "{body}");
        fields.first().map(|(field, _)| field.clone()).unwrap_or_default()
    }

    #[test]
    fn every_wrong_field_is_named_by_its_path() {
        assert_eq!(field(r#"{}"#), "lines");
        assert_eq!(field(r#"{"lines":[{"sku":"a"}]}"#), "lines[0].quantity");
        assert_eq!(field(r#"{"lines":[{"sku":"a","quantity":"1"}]}"#), "lines[0].quantity");
        assert_eq!(field(r#"{"lines":[{"sku":"a","quantity":-1}]}"#), "lines[0].quantity");
        assert_eq!(field(r#"{"lines":[{"sku":"a","quantity":1e99}]}"#), "lines[0].quantity");
        assert_eq!(field(r#"{"lines":[{"sku":"a","quantity":1,"x":1}]}"#), "lines[0].x");
        assert_eq!(field(r#"{"lines":{}}"#), "lines");
        assert_eq!(field(r#"{"lines":[],"lines":[]}"#), "lines");
        assert_eq!(field("[]"), "");
    }

    #[test]
    fn an_unknown_field_is_refused_even_where_the_type_forgot_to() {
        let (code, fields) = refused(br#"{"lines":[],"extra":1,"more":{"a":1}}"#);
        assert_eq!(code, "http.invalid_request");
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["extra", "more"]);
    }

    #[test]
    fn what_is_no_json_is_called_malformed() {
        for body in [
            &b""[..],
            b"{",
            b"{\"lines\":[]}x",
            b"\xff\xfe",
            b"{\"owner\":\"\xff\"}",
            b"{'lines':[]}",
        ] {
            assert_eq!(refused(body).0, "http.malformed_json", "{body:?}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(refused(format!("{{\"owner\":{deep}").as_bytes()).1.len(), 1);
    }
}
