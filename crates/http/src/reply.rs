//! The one form of every reply: `{"code", "message", "data"}`, or RFC 9457 for an error when the caller asks.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, Responder};
use serde::Serialize;
use serde_json::{Value, json};

use crate::error::{ApiError, FieldProblem};

/// The media type of RFC 9457.
const PROBLEM_JSON: &str = "application/problem+json";

/// The body of every reply, for descriptions of an API.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ReplyForm<T> {
    /// `ok`, or the error's stable code `area.reason`.
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What was asked for, or facts about the error.
    pub data: T,
}

/// What every refusal and failure looks like; `application/problem+json` when `Accept` names it.
pub type ErrorReply = ReplyForm<ErrorData>;

/// Facts about an error, for descriptions of an API; which of them are there depends on the code.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ErrorData {
    /// Each field of the request that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fields: Option<Vec<FieldProblem>>,
    /// What to report of a failure (5xx).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
}

/// A success on its way to the caller, already written as text so that it can be stored for a replay.
#[derive(Debug)]
pub struct Reply {
    status: StatusCode,
    body: Result<String, serde_json::Error>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Reply {
    /// 200 with `data`.
    pub fn ok(data: impl Serialize) -> Self {
        Self::with_message(StatusCode::OK, "ok", data)
    }

    /// 201 with `data`.
    pub fn created(data: impl Serialize) -> Self {
        Self::with_message(StatusCode::CREATED, "created", data)
    }

    /// 202 with `data`: it will happen, and `data` says where to ask.
    pub fn accepted(data: impl Serialize) -> Self {
        Self::with_message(StatusCode::ACCEPTED, "accepted", data)
    }

    /// Any success with its own sentence.
    pub fn with_message(
        status: StatusCode,
        message: impl Into<String>,
        data: impl Serialize,
    ) -> Self {
        let body = serde_json::to_string(&ReplyForm {
            code: "ok".to_owned(),
            message: message.into(),
            data,
        });
        Self { status, body, headers: Vec::new() }
    }

    /// A reply whose text was stored: an idempotent replay. A status that is none becomes 200.
    pub fn raw(status: u16, body: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        Self { status, body: Ok(body.into()), headers: Vec::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The whole body as text; empty when `data` has no JSON form, which then answers 500.
    #[must_use]
    pub fn body(&self) -> &str {
        self.body.as_deref().unwrap_or_default()
    }
}

impl Responder for Reply {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        match self.body {
            Ok(text) => {
                let mut builder = HttpResponse::build(self.status);
                for header in self.headers {
                    builder.append_header(header);
                }
                builder.content_type(mime_json()).body(text)
            }
            Err(cause) => HttpResponse::from_error(ApiError::internal(cause)),
        }
    }
}

/// The form of an error, chosen by `Accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Form {
    #[default]
    Reply,
    Problem,
}

impl Form {
    /// RFC 9457 only when it is named: `*/*` is no wish.
    pub(crate) fn asked(headers: &HeaderMap) -> Self {
        let named = headers
            .get_all(header::ACCEPT)
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|range| {
                let mut parts = range.split(';').map(str::trim);
                let is_problem =
                    parts.next().is_some_and(|it| it.eq_ignore_ascii_case(PROBLEM_JSON));
                let is_refused = parts
                    .filter_map(|parameter| parameter.strip_prefix("q="))
                    .any(|quality| quality.parse::<f32>().is_ok_and(|quality| quality <= 0.0));
                is_problem && !is_refused
            });
        if named { Self::Problem } else { Self::Reply }
    }

    /// The whole response of an error.
    pub(crate) fn render(self, error: &ApiError, trace_id: Option<&str>) -> HttpResponse {
        let mut builder = HttpResponse::build(error.status());
        for header in error.headers() {
            builder.append_header(header);
        }
        let data = error.data(trace_id);
        let code = error.code();
        match self {
            Self::Reply => {
                let body = json!({ "code": code.code, "message": error.message(), "data": data });
                builder.content_type(mime_json()).body(body.to_string())
            }
            Self::Problem => {
                let mut body = json!({
                    "type": format!("urn:millrace:error:{}", code.code),
                    "title": code.meaning,
                    "status": code.status,
                    "detail": error.message(),
                    "code": code.code,
                });
                if !data.is_null() {
                    body["data"] = data;
                }
                builder
                    .content_type(HeaderValue::from_static(PROBLEM_JSON))
                    .body(Value::to_string(&body))
            }
        }
    }
}

fn mime_json() -> HeaderValue {
    HeaderValue::from_static("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes;

    #[test]
    fn a_problem_document_is_given_only_when_it_is_named() {
        let form = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.append(header::ACCEPT, HeaderValue::from_static(accept));
            Form::asked(&headers)
        };
        assert_eq!(form("application/json, Application/Problem+JSON;q=0.5"), Form::Problem);
        assert_eq!(form("application/problem+json;q=0, */*"), Form::Reply);
        assert_eq!(form("*/*"), Form::Reply);
        assert_eq!(Form::asked(&HeaderMap::new()), Form::Reply);
    }

    #[test]
    fn a_failure_names_its_trace_and_a_refusal_its_fields() {
        let refusal = ApiError::invalid("lines[0].sku", "is unknown").with_data(json!({"a": 1}));
        assert_eq!(
            refusal.data(Some("t")),
            json!({"a": 1, "fields": [{"field": "lines[0].sku", "problem": "is unknown"}]})
        );
        let failure = ApiError::new(&codes::INTERNAL, "failed");
        assert_eq!(failure.data(Some("t")), json!({"trace_id": "t"}));
    }

    #[test]
    fn retry_after_is_rounded_up_to_a_second() {
        let error = ApiError::new(&codes::OVERLOADED, "busy")
            .with_retry_after(std::time::Duration::from_millis(1200));
        let response = Form::Reply.render(&error, None);
        assert_eq!(
            response.headers().get(header::RETRY_AFTER).map(HeaderValue::as_bytes),
            Some(&b"2"[..])
        );
    }
}
