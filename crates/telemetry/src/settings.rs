//! The `[telemetry]` section.

use std::time::Duration;

use millrace_runtime::settings::{ByteSize, Problems, duration};
use serde::Deserialize;

use crate::level::LevelFilter;

/// The `[telemetry]` section with every key, its default and what it means.
pub const DEFAULTS: &str = include_str!("../config/telemetry.toml");

/// How a service logs and traces; the keys are explained in [`DEFAULTS`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "each key is documented in DEFAULTS, from which docs/configuration.md is made"
)]
pub struct TelemetrySettings {
    pub log_level: String,
    pub log_value_max: ByteSize,
    pub redact: Vec<String>,
    pub otlp_endpoint: String,
    pub sample_ratio: f64,
    pub span_queue_max: usize,
    pub span_batch_max: usize,
    #[serde(with = "duration")]
    pub export_interval: Duration,
    #[serde(with = "duration")]
    pub export_timeout: Duration,
}

impl TelemetrySettings {
    /// Adds every problem found to `problems`.
    pub fn validate(&self, problems: &mut Problems) {
        if let Err(problem) = LevelFilter::parse(&self.log_level) {
            problems.add("telemetry.log_level", problem);
        }
        problems.require(
            self.log_value_max.as_u64() >= 64,
            "telemetry.log_value_max",
            "must be at least 64 bytes",
        );
        problems.require(
            self.otlp_endpoint.is_empty() || self.otlp_endpoint.starts_with("http://"),
            "telemetry.otlp_endpoint",
            "must be empty or start with http:// (put a collector beside the service for TLS)",
        );
        problems.require(
            (0.0..=1.0).contains(&self.sample_ratio),
            "telemetry.sample_ratio",
            "must be between 0.0 and 1.0",
        );
        problems.require(
            (1..=1_000_000).contains(&self.span_queue_max),
            "telemetry.span_queue_max",
            "must be between 1 and 1000000",
        );
        problems.require(
            (1..=self.span_queue_max).contains(&self.span_batch_max),
            "telemetry.span_batch_max",
            "must be between 1 and span_queue_max",
        );
        for (key, value) in
            [("export_interval", self.export_interval), ("export_timeout", self.export_timeout)]
        {
            problems.require(
                !value.is_zero(),
                format!("telemetry.{key}"),
                "must be longer than zero",
            );
        }
    }
}
