//! One route as it is kept while the gateway runs: its rule, its limit, its upstream.

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::{FromRequest, HttpRequest};
use millrace_common::http::{ApiError, Caller};
use millrace_common::resilience::RateLimit;
use millrace_common::resilience::rate_limit::Standing;
use millrace_common::runtime::Clock;

use super::quota;
use crate::metrics;
use crate::routes::{Auth, QuotaBy, Route};
use crate::upstream::Upstream;

/// A route with its state, shared by all workers.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) route: Route,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) proxies_trusted: usize,
    limit: RateLimit<String>,
    clock: Clock,
}

impl Door {
    pub(crate) fn new(
        route: Route,
        upstream: Arc<Upstream>,
        proxies_trusted: usize,
        clock: Clock,
    ) -> Self {
        let limit = RateLimit::new(route.quota);
        Self { route, upstream, proxies_trusted, limit, clock }
    }

    /// Who calls, when the route wants to know. The token is verified here so that strangers cost an upstream
    /// nothing, and by the upstream again, which trusts no network.
    pub(super) fn authenticate(&self, request: &HttpRequest) -> Result<Option<Caller>, ApiError> {
        match self.route.auth {
            Auth::Hmac => Ok(None),
            Auth::Jwt => {
                let caller = Caller::extract(request).into_inner();
                let caller = caller.inspect_err(|_| self.refused("token"))?;
                if let Some(role) = &self.route.role {
                    caller.require_role(role).inspect_err(|_| self.refused("role"))?;
                }
                Ok(Some(caller))
            }
        }
    }

    /// Takes the request into account and says where the caller stands.
    pub(super) fn admit(
        &self,
        caller: Option<&Caller>,
        client: IpAddr,
    ) -> Result<Standing, ApiError> {
        let key = match (self.route.quota_by, caller) {
            (QuotaBy::Caller, Some(caller)) => caller.subject.clone(),
            // The table refuses a quota by caller on a route without one.
            (QuotaBy::Caller, None) | (QuotaBy::Ip, _) => client.to_string(),
        };
        let standing = self.limit.check(key, self.clock.monotonic());
        if standing.allowed {
            return Ok(standing);
        }
        self.refused("quota");
        Err(quota::refusal(self.route.quota, standing))
    }

    pub(super) fn refused(&self, reason: &'static str) {
        metrics::REFUSED.with_label_values(&[self.route.path.as_str(), reason]).inc();
    }
}
