//! What every service's settings have in common.

use std::fmt::Debug;
use std::time::Duration;

use millrace_http::HttpSettings;
use millrace_runtime::settings::{Problems, Validate};
use millrace_telemetry::TelemetrySettings;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The `[shutdown]` section with its defaults.
pub const SHUTDOWN_DEFAULTS: &str = include_str!("../config/shutdown.toml");

/// How long a stop may take.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShutdownSettings {
    /// How long the service keeps accepting after it stopped being ready.
    #[serde(with = "millrace_runtime::settings::duration")]
    pub drain_delay: Duration,
    /// How long everything that follows may take together.
    #[serde(with = "millrace_runtime::settings::duration")]
    pub budget: Duration,
}

impl ShutdownSettings {
    /// Adds what is wrong with this section.
    pub fn validate(&self, problems: &mut Problems) {
        problems.require(!self.budget.is_zero(), "shutdown.budget", "must be more than zero");
    }
}

/// A service's settings: its sections, its defaults, its name.
pub trait ServiceSettings: DeserializeOwned + Validate + Debug + Send + 'static {
    /// The service's name in logs, traces, metrics and events.
    const SERVICE: &'static str;
    /// What its environment variables start with.
    const ENV_PREFIX: &'static str;
    /// The default texts of all its sections; later ones override earlier ones.
    const DEFAULTS: &'static [&'static str];

    /// The sections that every service has.
    fn base(&self) -> BaseSettings<'_>;
}

/// The sections that every service has.
#[derive(Debug, Clone, Copy)]
pub struct BaseSettings<'a> {
    /// `[http]`
    pub http: &'a HttpSettings,
    /// `[telemetry]`
    pub telemetry: &'a TelemetrySettings,
    /// `[shutdown]`
    pub shutdown: &'a ShutdownSettings,
}
