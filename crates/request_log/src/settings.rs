//! The `[request_log]` section.

use std::time::Duration;

use millrace_runtime::settings::{ByteSize, Problems, duration};
use serde::Deserialize;

/// The `[request_log]` section with every key, its default and what it means.
pub const DEFAULTS: &str = include_str!("../config/request_log.toml");

/// How request logs are queued and shipped; the keys are explained in [`DEFAULTS`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "each key is documented in DEFAULTS, from which docs/configuration.md is made"
)]
pub struct RequestLogSettings {
    pub queue_records_max: usize,
    pub queue_bytes_max: ByteSize,
    pub record_bytes_max: ByteSize,
    pub batch_records_max: usize,
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
}

impl RequestLogSettings {
    /// Adds every problem found to `problems`.
    pub fn validate(&self, problems: &mut Problems) {
        problems.require(
            (1..=1_000_000).contains(&self.queue_records_max),
            "request_log.queue_records_max",
            "must be between 1 and 1000000",
        );
        problems.require(
            self.queue_bytes_max.as_u64() >= self.record_bytes_max.as_u64(),
            "request_log.queue_bytes_max",
            "must be at least record_bytes_max",
        );
        problems.require(
            self.record_bytes_max.as_u64() >= 256,
            "request_log.record_bytes_max",
            "must be at least 256 bytes",
        );
        problems.require(
            (1..=self.queue_records_max).contains(&self.batch_records_max),
            "request_log.batch_records_max",
            "must be between 1 and queue_records_max",
        );
    }
}
