//! What a handler fails with.
//!
//! An [`ApiError`] has two messages: one for the caller, in the reply, and one for the log, which carries the
//! whole chain of causes and is written once, by the chain's reply layer. A cause never reaches the caller.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use millrace_envelope::ErrorCode;
use serde::Serialize;
use serde_json::Value;

use crate::codes;
use crate::reply::Form;

/// One field of a request that is wrong; a list of them stands in `data.fields`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldProblem {
    /// The path of the field, e.g. `lines[0].quantity`.
    pub field: String,
    /// What is wrong, completing the sentence «field ...».
    pub problem: String,
}

/// A refusal or failure on its way to the caller.
#[derive(Debug)]
pub struct ApiError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    code: &'static ErrorCode,
    message: String,
    data: Option<Value>,
    fields: Vec<FieldProblem>,
    retry_after: Option<Duration>,
    headers: Vec<(HeaderName, HeaderValue)>,
    source: Option<Box<dyn Error + Send + Sync>>,
    logged: bool,
}

impl ApiError {
    /// An error with its stable code and a sentence for the caller.
    pub fn new(code: &'static ErrorCode, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            message: message.into(),
            data: None,
            fields: Vec::new(),
            retry_after: None,
            headers: Vec::new(),
            source: None,
            logged: false,
        }))
    }

    /// `http.invalid_request` with one field.
    pub fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::new(&codes::INVALID_REQUEST, "a part of the request has a wrong value")
            .field(field, problem)
    }

    /// `http.internal`: the caller learns nothing, the log everything.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(&codes::INTERNAL, "the service failed").with_source(source)
    }

    /// `http.unavailable` with `Retry-After`: something that is needed doesn't answer.
    pub fn unavailable(
        retry_after: Duration,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::new(&codes::UNAVAILABLE, "the service can't answer right now")
            .with_retry_after(retry_after)
            .with_source(source)
    }

    /// Facts for the caller's program; an object, to which `fields` or a trace id may be added.
    #[must_use]
    pub fn with_data(mut self, data: impl Serialize) -> Self {
        match serde_json::to_value(data) {
            Ok(data) => self.0.data = Some(data),
            Err(cause) => {
                tracing::error!(error = %cause, code = self.0.code.code, "error's data has no JSON form")
            }
        }
        self
    }

    /// Adds a field that is wrong.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, problem: impl Into<String>) -> Self {
        self.0.fields.push(FieldProblem { field: field.into(), problem: problem.into() });
        self
    }

    /// Sets `Retry-After`, rounded up to whole seconds.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Adds a header to the reply.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The cause, for the log only.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says that the log has it already.
    #[must_use]
    pub(crate) fn logged(mut self) -> Self {
        self.0.logged = true;
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static ErrorCode {
        self.0.code
    }

    /// The sentence for the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The status it travels with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The reply's `data`: what was given, the fields, and for a failure the trace id to report.
    pub(crate) fn data(&self, trace_id: Option<&str>) -> Value {
        let mut data = self.0.data.clone().unwrap_or(Value::Null);
        if !self.0.fields.is_empty() {
            put(&mut data, "fields", serde_json::to_value(&self.0.fields).unwrap_or_default());
        }
        if self.0.code.status >= 500
            && let Some(trace_id) = trace_id
        {
            put(&mut data, "trace_id", Value::from(trace_id));
        }
        data
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + '_ {
        let seconds = self.0.retry_after.map(|wait| (wait.as_millis().div_ceil(1000)).max(1));
        let retry_after = seconds
            .and_then(|seconds| HeaderValue::from_str(&seconds.to_string()).ok())
            .map(|value| (actix_web::http::header::RETRY_AFTER, value));
        self.0.headers.iter().cloned().chain(retry_after)
    }

    /// Writes the one log line. ERROR means that a human must look: a dependency that is away or slow shows in
    /// health, metrics and warnings, a refusal is the caller's affair.
    pub(crate) fn log(&self) {
        if self.0.logged {
            return;
        }
        let code = self.0.code.code;
        let chain = millrace_telemetry::error_chain(self);
        match self.0.code.status {
            503 | 504 => tracing::warn!(error.code = code, error = chain, "request failed for now"),
            500.. => tracing::error!(error.code = code, error = chain, "request failed"),
            _ => {
                tracing::info!(error.code = code, error = chain, fields = %Fields(&self.0.fields), "request refused")
            }
        }
    }
}

/// The fields' names and problems in a log line.
struct Fields<'a>(&'a [FieldProblem]);

impl fmt::Display for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{} {}", problem.field, problem.problem)?;
        }
        Ok(())
    }
}

fn put(data: &mut Value, key: &str, value: Value) {
    if data.is_null() {
        *data = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(object) = data {
        object.insert(key.to_owned(), value);
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl Error for ApiError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    /// Outside the chain (a unit test) there is no `Accept` to obey: the reply form.
    fn error_response(&self) -> HttpResponse {
        Form::Reply.render(self, None)
    }
}
