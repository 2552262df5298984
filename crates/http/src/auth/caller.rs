//! The caller behind a request.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use millrace_runtime::settings::Secret;

use super::Verifier;
use crate::codes;
use crate::error::ApiError;
use crate::middleware::Facts;

/// The role that operators' endpoints ask for.
pub const ROLE_ADMIN: &str = "admin";

/// Whoever the token speaks for. As a handler's argument it makes the route refuse everybody without a token.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token's `sub`.
    pub subject: String,
    /// The token's `roles`.
    pub roles: Vec<String>,
    /// The token's `tenant`.
    pub tenant: Option<String>,
    /// The token itself, to be forwarded.
    pub token: Secret,
}

impl Caller {
    /// True when the token names this role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role)
    }

    /// Refuses a caller without the role.
    ///
    /// # Errors
    /// `auth.forbidden`.
    pub fn require_role(&self, role: &str) -> Result<(), ApiError> {
        if self.has_role(role) {
            return Ok(());
        }
        Err(ApiError::new(&codes::FORBIDDEN, format!("the role `{role}` is needed")))
    }

    /// The caller of a request: the one a scope's guard found already, or the one its token names.
    pub(super) fn of(request: &HttpRequest) -> Result<Self, ApiError> {
        if let Some(known) = request.extensions().get::<Self>() {
            return Ok(known.clone());
        }
        let verifier = request.app_data::<Verifier>().ok_or_else(|| {
            // A service that asks for callers but was built without a verifier: deny, and say so in the log.
            ApiError::internal("the server was built without a token verifier")
        })?;
        let caller = verifier.verify(bearer(request)?)?;
        Facts::of(request).set_caller(&caller.subject);
        request.extensions_mut().insert(caller.clone());
        Ok(caller)
    }
}

fn bearer(request: &HttpRequest) -> Result<&str, ApiError> {
    let missing = || {
        challenged(ApiError::new(&codes::MISSING_TOKEN, "the request carries no bearer token"), "")
    };
    let mut values = request.headers().get_all(header::AUTHORIZATION);
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        let twice = ApiError::new(&codes::INVALID_TOKEN, "the authorization header is given twice");
        return Err(challenged(twice, "invalid_request"));
    }
    let text = value.to_str().map_err(|_| missing())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(missing)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(missing());
    }
    Ok(token)
}

/// Adds the challenge that RFC 6750 asks of every 401.
pub(super) fn challenged(error: ApiError, reason: &'static str) -> ApiError {
    let text = match reason {
        "" => "Bearer".to_owned(),
        reason => format!("Bearer error=\"{reason}\""),
    };
    match header::HeaderValue::from_str(&text) {
        Ok(value) => error.with_header(header::WWW_AUTHENTICATE, value),
        Err(_) => error,
    }
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request))
    }
}

/// A caller with the role `admin`. As a handler's argument it makes the route refuse everybody else.
#[derive(Debug, Clone)]
pub struct Admin(pub Caller);

impl FromRequest for Admin {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(
            Caller::of(request)
                .and_then(|caller| caller.require_role(ROLE_ADMIN).map(|()| Self(caller))),
        )
    }
}
