//! What the layers know about one request, gathered once.
//!
//! Layers can't keep the request itself: the router needs it unshared, and panics otherwise.

use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Instant;

use actix_web::dev::ServiceRequest;
use actix_web::http::{Method, header};
use actix_web::{HttpMessage, HttpRequest};

use crate::reply::Form;

/// The route of a request that no template matches: one value for all of them, or a scanner fills the metrics.
pub(crate) const UNMATCHED: &str = "unmatched";

/// One request as the layers see it.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) started: Instant,
    pub(crate) method: &'static str,
    pub(crate) route: String,
    pub(crate) path: String,
    pub(crate) form: Form,
    pub(crate) request_bytes: u64,
    pub(crate) probe: bool,
    caller: OnceCell<String>,
}

impl Facts {
    pub(crate) fn gather(request: &ServiceRequest, started: Instant) -> Rc<Self> {
        let route = request.match_pattern().unwrap_or_else(|| UNMATCHED.to_owned());
        let length = request.headers().get(header::CONTENT_LENGTH);
        let facts = Rc::new(Self {
            started,
            method: method_name(request.method()),
            path: request.path().to_owned(),
            form: Form::asked(request.headers()),
            request_bytes: length
                .and_then(|it| it.to_str().ok())
                .and_then(|it| it.parse().ok())
                .unwrap_or(0),
            probe: matches!(route.as_str(), "/livez" | "/readyz"),
            route,
            caller: OnceCell::new(),
        });
        request.extensions_mut().insert(Rc::clone(&facts));
        facts
    }

    /// The facts of a request inside the chain.
    pub(crate) fn of(request: &impl HttpMessage) -> Rc<Self> {
        let found = request.extensions().get::<Rc<Self>>().cloned();
        found.expect("the trace layer gathers the facts of every request before anything else runs")
    }

    /// Remembers who asked, for the request log. The first answer stays.
    pub(crate) fn set_caller(&self, subject: &str) {
        self.caller.get_or_init(|| subject.to_owned());
    }

    pub(crate) fn caller(&self) -> Option<String> {
        self.caller.get().cloned()
    }
}

/// OpenTelemetry's rule: a method that nobody knows is `_OTHER`, or a scanner fills the metrics.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        "CONNECT" => "CONNECT",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}

/// True for a path that some template knows, so that another method than the asked one may exist.
pub(crate) fn path_exists(request: &HttpRequest) -> bool {
    request.resource_map().has_resource(request.path())
}
