//! A guard for a whole scope: nothing under it is reached without a token.

use std::future::{Ready, ready};

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use futures::future::LocalBoxFuture;

use super::Caller;

/// `web::scope("/api/v1").wrap(Authenticate::caller())`: deny by default. Handlers still take [`Caller`] to know
/// who asks; the token is checked once.
#[derive(Debug, Clone)]
pub struct Authenticate {
    role: Option<&'static str>,
}

impl Authenticate {
    /// Anybody with a valid token.
    #[must_use]
    pub fn caller() -> Self {
        Self { role: None }
    }

    /// Only callers with the role.
    #[must_use]
    pub fn role(role: &'static str) -> Self {
        Self { role: Some(role) }
    }
}

impl<S, B> Transform<S, ServiceRequest> for Authenticate
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Transform = Guarded<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(Guarded { inner, role: self.role }))
    }
}

/// The guarded scope.
#[derive(Debug)]
pub struct Guarded<S> {
    inner: S,
    role: Option<&'static str>,
}

impl<S, B> Service<ServiceRequest> for Guarded<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    S::Future: 'static,
    B: MessageBody + 'static,
{
    type Response = ServiceResponse<B>;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self::Response, Error>>;

    forward_ready!(inner);

    fn call(&self, request: ServiceRequest) -> Self::Future {
        let allowed = Caller::of(request.request())
            .and_then(|caller| self.role.map_or(Ok(()), |role| caller.require_role(role)));
        match allowed {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(refusal) => Box::pin(ready(Err(refusal.into()))),
        }
    }
}
