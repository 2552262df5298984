//! The gateway's settings: the chassis' sections, where the upstreams are, when to give them a rest.
//!
//! The route table is a file of its own, because it is a table and not a list of keys; what is wrong with it is
//! reported together with what is wrong here.

use std::time::Duration;

use millrace_common::http::{self, AuthSettings, HttpSettings};
use millrace_common::messaging::{self, KafkaSettings};
use millrace_common::request_log::{self, RequestLogSettings};
use millrace_common::resilience::breaker::BreakerPolicy;
use millrace_common::runtime::settings::{Problems, Validate, duration};
use millrace_common::telemetry::{self, TelemetrySettings};
use millrace_common::{BaseSettings, SHUTDOWN_DEFAULTS, ServiceSettings, ShutdownSettings};
use reqwest::Url;
use serde::Deserialize;

use crate::routes::{RouteTable, UpstreamName};

/// The gateway's own sections with every key, its default and what it means.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

/// Everything the gateway can be told; the keys are explained in the sections' default texts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub(crate) http: HttpSettings,
    pub(crate) telemetry: TelemetrySettings,
    pub(crate) shutdown: ShutdownSettings,
    pub(crate) auth: AuthSettings,
    pub(crate) kafka: KafkaSettings,
    pub(crate) request_log: RequestLogSettings,
    pub(crate) gateway: GatewaySettings,
    pub(crate) upstreams: UpstreamSettings,
    pub(crate) breaker: BreakerSettings,
}

/// `[gateway]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatewaySettings {
    pub(crate) routes_file: String,
    pub(crate) cors_origins: Vec<String>,
    #[serde(with = "duration")]
    pub(crate) cors_max_age: Duration,
    pub(crate) proxies_trusted: usize,
}

/// `[upstreams]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpstreamSettings {
    pub(crate) order: String,
    pub(crate) inventory: String,
    pub(crate) audit: String,
    pub(crate) log_ingest: String,
    pub(crate) ca_file: String,
    #[serde(with = "duration")]
    pub(crate) connect_timeout: Duration,
    #[serde(with = "duration")]
    pub(crate) body_idle_timeout: Duration,
    pub(crate) pool_idle_max: usize,
    #[serde(with = "duration")]
    pub(crate) pool_idle_timeout: Duration,
}

/// `[breaker]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BreakerSettings {
    pub(crate) window: usize,
    pub(crate) volume: usize,
    pub(crate) ratio: f64,
    #[serde(with = "duration")]
    pub(crate) open_for: Duration,
    pub(crate) probes: u32,
}

impl ServiceSettings for Settings {
    const SERVICE: &'static str = "gateway";
    const ENV_PREFIX: &'static str = "GATEWAY";
    const DEFAULTS: &'static [&'static str] = &[
        http::HTTP_DEFAULTS,
        telemetry::DEFAULTS,
        SHUTDOWN_DEFAULTS,
        http::AUTH_DEFAULTS,
        messaging::DEFAULTS,
        request_log::DEFAULTS,
        DEFAULTS,
    ];

    fn base(&self) -> BaseSettings<'_> {
        BaseSettings { http: &self.http, telemetry: &self.telemetry, shutdown: &self.shutdown }
    }
}

impl Validate for Settings {
    fn validate(&self, problems: &mut Problems) {
        self.http.validate(problems);
        self.telemetry.validate(problems);
        self.shutdown.validate(problems);
        self.auth.validate(problems);
        self.kafka.validate(problems);
        self.request_log.validate(problems);
        self.gateway.validate(problems);
        self.upstreams.validate(problems);
        self.breaker.validate(problems);
    }
}

impl GatewaySettings {
    fn validate(&self, problems: &mut Problems) {
        for origin in &self.cors_origins {
            problems.require(
                is_origin(origin),
                "gateway.cors_origins",
                format!("`{origin}` is not an origin such as https://shop.example"),
            );
        }
        if let Err(found) = RouteTable::load(&self.routes_file) {
            for line in found.lines() {
                problems.add("route table", line);
            }
        }
    }
}

impl UpstreamSettings {
    /// The base URL of an upstream, as it was written.
    pub(crate) fn base(&self, name: UpstreamName) -> &str {
        match name {
            UpstreamName::Order => &self.order,
            UpstreamName::Inventory => &self.inventory,
            UpstreamName::Audit => &self.audit,
            UpstreamName::LogIngest => &self.log_ingest,
        }
    }

    fn validate(&self, problems: &mut Problems) {
        for name in UpstreamName::ALL {
            let text = self.base(*name);
            problems.require(
                Url::parse(text).is_ok_and(|url| is_base(&url)),
                format!("upstreams.{}", name.as_str().replace('-', "_")),
                format!("`{text}` is not a URL such as http://order:8080 without path and query"),
            );
        }
        for (key, value) in [
            ("connect_timeout", self.connect_timeout),
            ("body_idle_timeout", self.body_idle_timeout),
            ("pool_idle_timeout", self.pool_idle_timeout),
        ] {
            problems.require(
                !value.is_zero(),
                format!("upstreams.{key}"),
                "must be longer than zero",
            );
        }
    }
}

impl BreakerSettings {
    /// The same as a policy.
    pub(crate) fn policy(&self) -> BreakerPolicy {
        BreakerPolicy {
            window: self.window,
            volume: self.volume,
            ratio: self.ratio,
            open_for: self.open_for,
            probes: self.probes,
        }
    }

    fn validate(&self, problems: &mut Problems) {
        problems.require(
            (1..=10_000).contains(&self.window),
            "breaker.window",
            "must be between 1 and 10000",
        );
        problems.require(
            (1..=self.window).contains(&self.volume),
            "breaker.volume",
            "must be between 1 and breaker.window",
        );
        let sane = self.ratio > 0.0 && self.ratio <= 1.0;
        problems.require(sane, "breaker.ratio", "must be above 0.0 and at most 1.0");
        problems.require(!self.open_for.is_zero(), "breaker.open_for", "must be longer than zero");
        problems.require(self.probes > 0, "breaker.probes", "must be at least 1");
    }
}

fn is_base(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
}

/// An origin is scheme, host and perhaps port, in the very letters a browser sends.
fn is_origin(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| is_base(&url) && url.origin().ascii_serialization() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_a_browser_sends_it() {
        assert!(is_origin("https://shop.example"));
        assert!(is_origin("http://localhost:3000"));
        for wrong in ["*", "null", "shop.example", "https://shop.example/", "https://Shop.example"]
        {
            assert!(!is_origin(wrong), "{wrong}");
        }
    }
}
