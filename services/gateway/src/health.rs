//! The circuits on the health page.
//!
//! Upstreams are no part of the gateway's readiness: with one of five away it serves the rest, and taking every
//! gateway out of service would turn a partial outage into a whole one.

use std::sync::Arc;

use millrace_common::http::{Component, Health};
use millrace_common::resilience::breaker::BreakerState;

use crate::routes::UpstreamName;
use crate::upstream::{Upstream, state_word};

/// Adds one component an upstream.
pub(crate) fn register(health: &Health, upstreams: &[Arc<Upstream>]) {
    for upstream in upstreams {
        let upstream = Arc::clone(upstream);
        health.register(component(upstream.name()), move || {
            let answer = look(upstream.circuit());
            async move { answer }
        });
    }
}

fn look(circuit: BreakerState) -> Component {
    let component = match circuit {
        BreakerState::Closed => Component::up(),
        BreakerState::HalfOpen => Component::unknown("trying again after failures"),
        BreakerState::Open => Component::down("keeps failing and is given a rest"),
    };
    component.with("circuit", state_word(circuit))
}

const fn component(name: UpstreamName) -> &'static str {
    match name {
        UpstreamName::Order => "orderUpstream",
        UpstreamName::Inventory => "inventoryUpstream",
        UpstreamName::Audit => "auditUpstream",
        UpstreamName::LogIngest => "logIngestUpstream",
    }
}
