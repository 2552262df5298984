//! The settings of this service: the chassis' sections and its own.

use std::time::Duration;

use millrace_common::coordination::{self, RedisSettings};
use millrace_common::http::{AUTH_DEFAULTS, AuthSettings, HTTP_DEFAULTS, HttpSettings};
use millrace_common::messaging::{self, KafkaSettings};
use millrace_common::outbox::{DATABASE_DEFAULTS, DatabaseSettings, RELAY_DEFAULTS, RelaySettings};
use millrace_common::request_log::{self, RequestLogSettings};
use millrace_common::runtime::settings::{Problems, Secret, Validate, duration};
use millrace_common::scheduler::{self, SchedulerSettings};
use millrace_common::telemetry::{self, TelemetrySettings};
use millrace_common::{BaseSettings, SHUTDOWN_DEFAULTS, ServiceSettings, ShutdownSettings};
use serde::Deserialize;

/// A shorter secret could be found by trying.
const CURSOR_SECRET_BYTES_MIN: usize = 32;

/// Partitions are made a day ahead at least.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub(crate) http: HttpSettings,
    pub(crate) telemetry: TelemetrySettings,
    pub(crate) shutdown: ShutdownSettings,
    pub(crate) auth: AuthSettings,
    pub(crate) kafka: KafkaSettings,
    pub(crate) request_log: RequestLogSettings,
    pub(crate) database: DatabaseSettings,
    pub(crate) redis: RedisSettings,
    pub(crate) outbox: RelaySettings,
    pub(crate) scheduler: SchedulerSettings,
    pub(crate) ingest: IngestSettings,
    pub(crate) search: SearchSettings,
}

/// The section `[ingest]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IngestSettings {
    pub(crate) days_back: u16,
    pub(crate) days_ahead: u16,
    pub(crate) retention_days: u16,
    #[serde(with = "duration")]
    pub(crate) upkeep_interval: Duration,
}

impl IngestSettings {
    fn validate(&self, problems: &mut Problems) {
        // The functions that make partitions refuse days further off than this.
        problems.require(self.days_back <= 90, "ingest.days_back", "must be at most 90");
        problems.require(self.days_ahead <= 7, "ingest.days_ahead", "must be at most 7");
        // Otherwise a partition could be dropped while lines of its day are still taken.
        problems.require(
            self.retention_days >= self.days_back.saturating_add(2),
            "ingest.retention_days",
            "must be at least two more than ingest.days_back",
        );
        problems.require(
            (Duration::from_secs(1)..=DAY).contains(&self.upkeep_interval),
            "ingest.upkeep_interval",
            "must be 1s to 1 day",
        );
    }
}

/// The section `[search]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchSettings {
    pub(crate) cursor_secret: Secret,
}

impl ServiceSettings for Settings {
    const SERVICE: &'static str = "log-ingest";
    const ENV_PREFIX: &'static str = "LOG_INGEST";
    const DEFAULTS: &'static [&'static str] = &[
        HTTP_DEFAULTS,
        telemetry::DEFAULTS,
        SHUTDOWN_DEFAULTS,
        AUTH_DEFAULTS,
        messaging::DEFAULTS,
        request_log::DEFAULTS,
        DATABASE_DEFAULTS,
        coordination::DEFAULTS,
        RELAY_DEFAULTS,
        scheduler::DEFAULTS,
        include_str!("../config/default.toml"),
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
        self.database.validate(problems);
        self.redis.validate(problems);
        self.outbox.validate(problems);
        self.scheduler.validate(problems);
        self.ingest.validate(problems);
        problems.require(
            self.search.cursor_secret.expose().len() >= CURSOR_SECRET_BYTES_MIN,
            "search.cursor_secret",
            format!("must be at least {CURSOR_SECRET_BYTES_MIN} bytes"),
        );
    }
}
