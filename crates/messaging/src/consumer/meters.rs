//! The metrics of one consumer, looked up once: by label for each record they would cost more than a small handler.

use millrace_telemetry::metrics::{Histogram, IntCounter};

use super::identity::Identity;
use crate::metrics;

pub(super) struct Meters {
    pub(super) handled: IntCounter,
    pub(super) skipped: IntCounter,
    pub(super) retried: IntCounter,
    pub(super) latency: Histogram,
}

impl Meters {
    pub(super) fn of(identity: &Identity) -> Self {
        let (group, topic) = (identity.group, identity.origin.as_str());
        Self {
            handled: metrics::handled(group, topic),
            skipped: metrics::skipped(group, topic),
            retried: metrics::retried(group, topic),
            latency: metrics::latency(topic),
        }
    }
}
