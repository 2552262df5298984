//! One service behind the gateway: its connections, its circuit breaker, and how it is called.
//!
//! A call takes a deadline and never outlives it. A connection that can't be opened is tried once more when the
//! request may be repeated: it never reached anybody. Nothing else is tried again here; the client holds the
//! Idempotency-Key and decides.
//!
//! The circuit counts what tells something about the upstream: unreachable, timed out, 502, 503, 504. A 4xx is
//! the client's doing. So is a time-out or 504 of a request whose client asked for less time than the route
//! gives: otherwise one impatient client could close the door for everybody.

mod call;
mod clients;

use std::time::{Duration, Instant};

use millrace_common::resilience::breaker::{Breaker, BreakerPolicy, BreakerState, Permit};
use millrace_common::runtime::Clock;
use reqwest::{Client, Response, Url};

use crate::metrics;
use crate::routes::UpstreamName;

pub(crate) use call::Call;
pub(crate) use clients::build_client;

/// An upstream, shared by all requests and workers.
#[derive(Debug)]
pub(crate) struct Upstream {
    name: UpstreamName,
    base: Url,
    client: Client,
    breaker: Breaker,
    clock: Clock,
}

/// Why there is no answer of the upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallFailure {
    #[error("the path is not in its plain form")]
    CrookedPath,
    #[error("nothing is left of the deadline")]
    NoTimeLeft,
    #[error("the circuit is open for another {} ms", retry_after.as_millis())]
    CircuitOpen { retry_after: Duration },
    #[error("no answer within {} ms", waited.as_millis())]
    TimedOut { waited: Duration },
    #[error("the connection failed")]
    Unreachable {
        #[source]
        cause: reqwest::Error,
    },
}

impl Upstream {
    pub(crate) fn new(
        name: UpstreamName,
        base: Url,
        client: Client,
        policy: BreakerPolicy,
        clock: Clock,
    ) -> Self {
        metrics::CIRCUIT_STATE.with_label_values(&[name.as_str()]).set(0);
        Self { name, base, client, breaker: Breaker::new(policy), clock }
    }

    pub(crate) fn name(&self) -> UpstreamName {
        self.name
    }

    /// What its circuit is doing.
    pub(crate) fn circuit(&self) -> BreakerState {
        self.breaker.state()
    }

    /// Asks the upstream and returns its answer's head; the body follows as the client reads it.
    pub(crate) async fn call(&self, call: &Call) -> Result<Response, CallFailure> {
        let url = self.url_of(&call.target)?;
        // Before the circuit: a call that isn't begun must not take a probe's place.
        if call.deadline.for_next_hop(Instant::now()).is_none() {
            return Err(CallFailure::NoTimeLeft);
        }
        let permit = self
            .breaker
            .enter(self.clock.monotonic())
            .map_err(|refused| CallFailure::CircuitOpen { retry_after: refused.retry_after })?;
        self.show_circuit();
        let outcome = self.attempt_within_deadline(call, &url).await;
        self.learn(permit, call, &outcome);
        outcome
    }

    /// The URL to call. URLs are normalised by their parser (`/a/%2e%2e/b` becomes `/b`): what would change is
    /// refused, or a path could pass one route's checks and arrive at another.
    fn url_of(&self, target: &str) -> Result<Url, CallFailure> {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let mut url = self.base.clone();
        url.set_path(path);
        url.set_query(query);
        if url.path() == path { Ok(url) } else { Err(CallFailure::CrookedPath) }
    }

    fn learn(&self, permit: Permit, call: &Call, outcome: &Result<Response, CallFailure>) {
        let succeeded = match outcome {
            Ok(answer) => match answer.status().as_u16() {
                502 | 503 => false,
                504 if call.cut_by_client => return,
                504 => false,
                _ => true,
            },
            Err(CallFailure::Unreachable { .. }) => false,
            Err(CallFailure::TimedOut { .. }) if !call.cut_by_client => false,
            // A half-open circuit gives the place of an unreported probe to another after a while.
            Err(
                CallFailure::TimedOut { .. }
                | CallFailure::NoTimeLeft
                | CallFailure::CircuitOpen { .. }
                | CallFailure::CrookedPath,
            ) => return,
        };
        let before = self.breaker.state();
        self.breaker.report(permit, succeeded, self.clock.monotonic());
        let after = self.breaker.state();
        if before != after {
            self.show_circuit();
            self.log_turn(before, after);
        }
    }

    fn log_turn(&self, before: BreakerState, after: BreakerState) {
        let (upstream, before, after) = (self.name.as_str(), state_word(before), state_word(after));
        if after == "open" {
            tracing::warn!(upstream, "circuit of {upstream} turned from {before} to {after}");
        } else {
            tracing::info!(upstream, "circuit of {upstream} turned from {before} to {after}");
        }
    }

    fn show_circuit(&self) {
        let level = match self.breaker.state() {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        };
        metrics::CIRCUIT_STATE.with_label_values(&[self.name.as_str()]).set(level);
    }
}

/// The state as it stands in logs and on the health page.
pub(crate) const fn state_word(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::HalfOpen => "half-open",
        BreakerState::Open => "open",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_a_url_parser_would_change_is_refused() {
        let base = Url::parse("http://order:8080").unwrap();
        let upstream = Upstream::new(
            UpstreamName::Order,
            base,
            Client::new(),
            BreakerPolicy::default(),
            Clock::system(),
        );
        let url = upstream.url_of("/api/v1/products?sku=a,b&x=%2e%2e").unwrap();
        assert_eq!(url.as_str(), "http://order:8080/api/v1/products?sku=a,b&x=%2e%2e");
        assert!(upstream.url_of("/api/v1/products/a%2Fb%20c").is_ok());
        for crooked in
            ["/api/v1/products/%2e%2e", "/api/v1/products/..", "/api/v1/a/./b", "//evil/x/.."]
        {
            assert!(upstream.url_of(crooked).is_err(), "{crooked}");
        }
    }
}
