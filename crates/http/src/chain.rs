//! What the layers share.

use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use millrace_runtime::Clock;
use millrace_telemetry::metrics::{self, HistogramVec, IntGauge};
use tokio::runtime::Handle;

use super::ServerParts;
use crate::health::Health;
use crate::record::RequestLog;
use crate::settings::HttpSettings;

/// Built once, before the workers: what is built in their factory would be one per worker.
pub(crate) struct Chain {
    pub(crate) service: &'static str,
    pub(crate) body_bytes_max: usize,
    pub(crate) header_bytes_max: usize,
    pub(crate) deadline: Duration,
    pub(crate) runtime: Handle,
    pub(crate) clock: Clock,
    pub(crate) health: Health,
    pub(crate) request_log: Option<Arc<dyn RequestLog>>,
    pub(crate) metrics: HttpMetrics,
}

/// The chain's metrics.
pub(crate) struct HttpMetrics {
    pub(crate) duration: HistogramVec,
    pub(crate) active: IntGauge,
}

impl Chain {
    pub(super) fn new(service: &'static str, settings: &HttpSettings, parts: &ServerParts) -> Self {
        Self {
            service,
            body_bytes_max: settings.body_bytes_max(),
            header_bytes_max: usize::try_from(settings.header_max.as_u64()).unwrap_or(usize::MAX),
            deadline: settings.deadline,
            runtime: Handle::current(),
            clock: parts.clock.clone(),
            health: parts.health.clone(),
            request_log: parts.request_log.clone(),
            metrics: HttpMetrics {
                duration: metrics::histogram_vec(
                    "http_server_request_duration_seconds",
                    "time from a request's head to its answer's head",
                    &["method", "route", "status"],
                    metrics::LATENCY_BUCKETS,
                ),
                active: metrics::gauge(
                    "http_server_active_requests",
                    "requests without an answer yet",
                ),
            },
        }
    }

    /// The chain that a request runs through.
    pub(crate) fn of(request: &HttpRequest) -> Arc<Self> {
        let chain = request.app_data::<Arc<Self>>();
        Arc::clone(
            chain.expect(
                "requests reach layers and handlers only through the server, which sets this",
            ),
        )
    }
}
