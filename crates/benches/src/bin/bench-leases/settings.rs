//! The product's own settings sections, with the stack's addresses over the defaults.

use anyhow::{Result, anyhow};
use millrace_common::coordination::RedisSettings;
use millrace_common::messaging::KafkaSettings;
use millrace_common::outbox::{DATABASE_DEFAULTS, DatabaseSettings, RELAY_DEFAULTS, RelaySettings};
use millrace_common::runtime::settings::{Layers, Problems, Validate, load};
use millrace_common::scheduler::SchedulerSettings;
use millrace_common::telemetry::TelemetrySettings;
use millrace_common::{coordination, messaging, scheduler, telemetry};
use millrace_testkit::{Namespace, Stack, TestDatabase};
use serde::Deserialize;

const PREFIX: &str = "BENCH";

/// What the measured parts are set to.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Settings {
    pub(crate) database: DatabaseSettings,
    pub(crate) redis: RedisSettings,
    pub(crate) kafka: KafkaSettings,
    pub(crate) outbox: RelaySettings,
    pub(crate) scheduler: SchedulerSettings,
    pub(crate) telemetry: TelemetrySettings,
}

impl Validate for Settings {
    fn validate(&self, problems: &mut Problems) {
        self.database.validate(problems);
        self.redis.validate(problems);
        self.kafka.validate(problems);
        self.outbox.validate(problems);
        self.scheduler.validate(problems);
        self.telemetry.validate(problems);
    }
}

impl Settings {
    /// The defaults on this stack, under names of this namespace. Spans go nowhere, as by default.
    pub(crate) fn on(stack: &Stack, namespace: &Namespace) -> Result<Self> {
        // The section wants them; nothing connects to this one.
        Self::with(stack, namespace, &["NAME", "USER"].map(|key| (key, "unused".to_owned())))
    }

    /// The same with a database, in which a service works as it would by its defaults.
    pub(crate) fn of(
        stack: &Stack,
        namespace: &Namespace,
        database: &TestDatabase,
    ) -> Result<Self> {
        let TestDatabase { host, port, app, name, .. } = database;
        let database = [
            ("HOST", host.clone()),
            ("PORT", port.to_string()),
            ("NAME", name.clone()),
            ("USER", app.user.clone()),
            ("PASSWORD", app.password.clone()),
        ];
        Self::with(stack, namespace, &database)
    }

    fn with(stack: &Stack, namespace: &Namespace, database: &[(&str, String)]) -> Result<Self> {
        let mut values = [
            ("REDIS__HOST", "127.0.0.1".to_owned()),
            ("REDIS__PORT", stack.addresses().redis_port.to_string()),
            ("REDIS__KEY_PREFIX", format!("{}:", namespace.id())),
            ("KAFKA__BROKERS", stack.brokers()),
            ("KAFKA__TOPIC_PREFIX", namespace.topic_prefix.clone()),
            ("KAFKA__GROUP_SUFFIX", namespace.group_suffix.clone()),
            ("TELEMETRY__OTLP_ENDPOINT", String::new()),
            // Log lines go to the standard output, which is the report's.
            ("TELEMETRY__LOG_LEVEL", "off".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec();
        values.extend(database.iter().map(|(key, v)| (format!("DATABASE__{key}"), v.clone())));
        Self::read(&values)
    }

    fn read(values: &[(String, String)]) -> Result<Self> {
        let environment =
            values.iter().map(|(key, value)| (format!("{PREFIX}__{key}"), value.clone())).collect();
        let defaults = vec![
            DATABASE_DEFAULTS,
            coordination::DEFAULTS,
            messaging::DEFAULTS,
            RELAY_DEFAULTS,
            scheduler::DEFAULTS,
            telemetry::DEFAULTS,
        ];
        load(&Layers { defaults, overlay: None, prefix: PREFIX, environment })
            .map_err(|problems| anyhow!("{problems}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_s_values_lie_over_the_defaults() {
        let read = |key: &str, value: &str| {
            let needed = ["NAME", "USER"].map(|key| (format!("DATABASE__{key}"), "n".to_owned()));
            Settings::read(&[needed.to_vec(), vec![(key.to_owned(), value.to_owned())]].concat())
        };
        let settings = read("REDIS__PORT", "7").unwrap();
        assert_eq!(settings.redis.port, 7);
        assert!(settings.redis.pool_max > 1 && settings.scheduler.batch > 1);
        assert!(read("REDIS__NO_SUCH", "1").is_err());
    }
}
