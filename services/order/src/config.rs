//! Settings = the chassis' sections and the order rules. All problems are found in one go.

use std::time::Duration;

use chrono::TimeDelta;
use millrace_common::coordination::{self, RedisSettings};
use millrace_common::http::{AUTH_DEFAULTS, AuthSettings, HTTP_DEFAULTS, HttpSettings};
use millrace_common::messaging::{self, KafkaSettings};
use millrace_common::outbox::{DATABASE_DEFAULTS, DatabaseSettings, RELAY_DEFAULTS, RelaySettings};
use millrace_common::request_log::{self, RequestLogSettings};
use millrace_common::runtime::settings::{Problems, Secret, Validate, duration};
use millrace_common::scheduler::{self, SchedulerSettings};
use millrace_common::telemetry::{self, TelemetrySettings};
use millrace_common::{
    BaseSettings, SHUTDOWN_DEFAULTS, ServiceSettings, ShutdownSettings, TASKS_AT_ONCE,
};
use serde::Deserialize;

use crate::app::Rules;

/// Defaults of the section `[order]`, with the meaning of each key.
pub const ORDER_DEFAULTS: &str = include_str!("../config/default.toml");

/// Shorter secrets can be guessed.
const SECRET_BYTES_MIN: usize = 16;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Everything the service can be told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `[http]`
    pub http: HttpSettings,
    /// `[auth]`
    pub auth: AuthSettings,
    /// `[telemetry]`
    pub telemetry: TelemetrySettings,
    /// `[shutdown]`
    pub shutdown: ShutdownSettings,
    /// `[database]`
    pub database: DatabaseSettings,
    /// `[kafka]`
    pub kafka: KafkaSettings,
    /// `[redis]`
    pub redis: RedisSettings,
    /// `[outbox]`
    pub outbox: RelaySettings,
    /// `[scheduler]`
    pub scheduler: SchedulerSettings,
    /// `[request_log]`
    pub request_log: RequestLogSettings,
    /// `[order]`
    pub order: OrderSettings,
}

/// The section `[order]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the comments in config/default.toml are the documentation")]
pub struct OrderSettings {
    #[serde(with = "duration")]
    pub pay_within: Duration,
    #[serde(with = "duration")]
    pub expiry_interval: Duration,
    #[serde(with = "duration")]
    pub placed_limit: Duration,
    pub expiry_batch: u32,
    pub payment_secret: Secret,
    #[serde(with = "duration")]
    pub payment_window: Duration,
    pub cursor_secret: Secret,
    #[serde(with = "duration")]
    pub idempotency_retention: Duration,
}

impl OrderSettings {
    fn validate(&self, problems: &mut Problems) {
        for (key, span, longest) in [
            ("pay_within", self.pay_within, 30 * DAY),
            ("placed_limit", self.placed_limit, 30 * DAY),
            ("idempotency_retention", self.idempotency_retention, 30 * DAY),
        ] {
            let sane = span >= Duration::from_millis(1) && span <= longest;
            let days = longest.as_secs() / DAY.as_secs();
            problems.require(sane, format!("order.{key}"), format!("must be 1ms to {days} day(s)"));
        }
        let interval_is_sane = (Duration::from_secs(1)..=DAY).contains(&self.expiry_interval);
        problems.require(interval_is_sane, "order.expiry_interval", "must be 1s to 1 day");
        // The window is what a stolen callback may be replayed in.
        let window_is_sane = (1..=3600).contains(&self.payment_window.as_secs());
        problems.require(window_is_sane, "order.payment_window", "must be 1s to 1h");
        let batch_is_sane = (1..=500).contains(&self.expiry_batch);
        problems.require(batch_is_sane, "order.expiry_batch", "must be 1 to 500");
        for (key, secret) in
            [("payment_secret", &self.payment_secret), ("cursor_secret", &self.cursor_secret)]
        {
            let long_enough = secret.expose().len() >= SECRET_BYTES_MIN;
            let problem = format!("must have at least {SECRET_BYTES_MIN} characters");
            problems.require(long_enough, format!("order.{key}"), problem);
        }
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules {
            pay_within: TimeDelta::from_std(self.pay_within).unwrap_or(TimeDelta::MAX),
            placed_limit: TimeDelta::from_std(self.placed_limit).unwrap_or(TimeDelta::MAX),
            reply_ttl: self.idempotency_retention,
            expiry_batch: self.expiry_batch,
        }
    }
}

impl Validate for Settings {
    fn validate(&self, problems: &mut Problems) {
        self.http.validate(problems);
        self.auth.validate(problems);
        self.telemetry.validate(problems);
        self.shutdown.validate(problems);
        self.database.validate(problems);
        self.kafka.validate(problems);
        self.redis.validate(problems);
        self.outbox.validate(problems);
        self.scheduler.validate(problems);
        self.request_log.validate(problems);
        self.order.validate(problems);
        // Requests need connections too: the consumers must not take all of them.
        let connections = usize::try_from(self.database.pool_max).unwrap_or(usize::MAX);
        problems.require(
            self.kafka.concurrency.saturating_mul(3).saturating_add(TASKS_AT_ONCE) < connections,
            "kafka.concurrency",
            format!("three times this and {TASKS_AT_ONCE} must be less than database.pool_max"),
        );
    }
}

impl ServiceSettings for Settings {
    const SERVICE: &'static str = crate::wire::SERVICE;
    const ENV_PREFIX: &'static str = "ORDER";
    const DEFAULTS: &'static [&'static str] = &[
        HTTP_DEFAULTS,
        AUTH_DEFAULTS,
        telemetry::DEFAULTS,
        SHUTDOWN_DEFAULTS,
        DATABASE_DEFAULTS,
        messaging::DEFAULTS,
        coordination::DEFAULTS,
        RELAY_DEFAULTS,
        scheduler::DEFAULTS,
        request_log::DEFAULTS,
        ORDER_DEFAULTS,
    ];

    fn base(&self) -> BaseSettings<'_> {
        BaseSettings { http: &self.http, telemetry: &self.telemetry, shutdown: &self.shutdown }
    }
}
