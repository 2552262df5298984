//! The settings of this service: the chassis' sections and its own.

use std::time::Duration;

use millrace_common::coordination::{self, RedisSettings};
use millrace_common::http::{AUTH_DEFAULTS, AuthSettings, HTTP_DEFAULTS, HttpSettings};
use millrace_common::messaging::{self, KafkaSettings};
use millrace_common::outbox::{DATABASE_DEFAULTS, DatabaseSettings, RELAY_DEFAULTS, RelaySettings};
use millrace_common::request_log::{self, RequestLogSettings};
use millrace_common::runtime::settings::{Problems, Validate, duration};
use millrace_common::scheduler::{self, SchedulerSettings, TaskSpec};
use millrace_common::telemetry::{self, TelemetrySettings};
use millrace_common::{
    BaseSettings, SHUTDOWN_DEFAULTS, ServiceSettings, ShutdownSettings, TASKS_AT_ONCE,
};
use serde::Deserialize;

use crate::{SERVICE, tasks};

/// The service's own section with every key, its default and what it means.
pub const DEFAULTS: &str = include_str!("../config/default.toml");

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything that can be set; the keys are explained in the sections' default texts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each section is documented in its default text")]
pub struct Settings {
    pub http: HttpSettings,
    pub telemetry: TelemetrySettings,
    pub shutdown: ShutdownSettings,
    pub auth: AuthSettings,
    pub kafka: KafkaSettings,
    pub request_log: RequestLogSettings,
    pub database: DatabaseSettings,
    pub redis: RedisSettings,
    pub outbox: RelaySettings,
    pub scheduler: SchedulerSettings,
    pub inventory: InventorySettings,
}

/// The section `[inventory]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each key is documented in DEFAULTS")]
pub struct InventorySettings {
    #[serde(with = "duration")]
    pub overdue_after: Duration,
    #[serde(with = "duration")]
    pub overdue_interval: Duration,
    pub reconcile_cron: String,
}

impl ServiceSettings for Settings {
    const SERVICE: &'static str = SERVICE;
    const ENV_PREFIX: &'static str = "INVENTORY";
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
        self.database.validate(problems);
        self.redis.validate(problems);
        self.outbox.validate(problems);
        self.scheduler.validate(problems);
        let InventorySettings { overdue_after, overdue_interval, .. } = self.inventory;
        problems.require(
            !overdue_after.is_zero(),
            "inventory.overdue_after",
            "must be longer than zero",
        );
        problems.require(
            (Duration::from_secs(1)..=DAY).contains(&overdue_interval),
            "inventory.overdue_interval",
            "must be 1s to 1 day",
        );
        if let Err(refused) = TaskSpec::try_from_form(tasks::reconcile_form(&self.inventory)) {
            problems.require(false, "inventory.reconcile_cron", refused.to_string());
        }
        // Requests need connections too: orders and tasks must not take all of them.
        let connections = usize::try_from(self.database.pool_max).unwrap_or(usize::MAX);
        problems.require(
            self.kafka.concurrency.saturating_add(TASKS_AT_ONCE) < connections,
            "kafka.concurrency",
            format!("must be more than {TASKS_AT_ONCE} less than database.pool_max"),
        );
    }
}
