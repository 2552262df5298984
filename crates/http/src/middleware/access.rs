//! The request's record and its duration, also when the caller goes away before the answer.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::ServiceRequest;
use actix_web::middleware::Next;

use super::{Facts, Outcome, status_of};
use crate::chain::Chain;
use crate::record::RequestRecord;

/// What nginx calls a request whose caller went away; never sent.
const CALLER_WENT_AWAY: u16 = 499;

pub(crate) async fn access(request: ServiceRequest, next: Next<BoxBody>) -> Outcome {
    let chain = Chain::of(request.request());
    let facts = Facts::of(&request);
    let mut pending = Pending::new(chain, facts);
    let outcome = next.call(request).await;
    let bytes = match outcome.as_ref().map(|response| response.response().body().size()) {
        Ok(BodySize::Sized(bytes)) => bytes,
        Ok(BodySize::None | BodySize::Stream) | Err(_) => 0,
    };
    pending.finish(status_of(&outcome), bytes);
    outcome
}

/// A request that has no answer yet. Dropped without one, it was given up by its caller.
struct Pending {
    chain: Arc<Chain>,
    facts: Rc<Facts>,
    at_ms: i64,
    trace_id: Option<String>,
    finished: bool,
}

impl Pending {
    fn new(chain: Arc<Chain>, facts: Rc<Facts>) -> Self {
        chain.metrics.active.inc();
        let at_ms = chain.clock.now_ms();
        Self {
            chain,
            facts,
            at_ms,
            trace_id: millrace_telemetry::current_trace_id(),
            finished: false,
        }
    }

    fn finish(&mut self, status: u16, response_bytes: u64) {
        self.finished = true;
        let took = self.chain.clock.monotonic().saturating_duration_since(self.facts.started);
        self.chain.metrics.active.dec();
        let labels = [self.facts.method, &self.facts.route, &status.to_string()];
        self.chain.metrics.duration.with_label_values(&labels).observe(took.as_secs_f64());
        // Probes come every few seconds from every node and say nothing about the service's use.
        if self.facts.probe {
            return;
        }
        let latency_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let caller = self.facts.caller();
        tracing::info!(
            status,
            latency_us,
            caller = caller.as_deref().unwrap_or_default(),
            "{} {} {status}",
            self.facts.method,
            self.facts.route,
        );
        let Some(log) = &self.chain.request_log else {
            return;
        };
        log.record(RequestRecord {
            at_ms: self.at_ms,
            service: self.chain.service,
            method: self.facts.method,
            route: self.facts.route.clone(),
            status,
            latency_us,
            trace_id: self.trace_id.clone(),
            caller,
            request_bytes: self.facts.request_bytes,
            response_bytes,
            level: level(status),
        });
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.finished {
            self.finish(CALLER_WENT_AWAY, 0);
        }
    }
}

/// How the answer looks to somebody who searches; the service's own log has its own measure.
fn level(status: u16) -> &'static str {
    match status {
        500.. => "ERROR",
        400.. => "WARN",
        _ => "INFO",
    }
}
