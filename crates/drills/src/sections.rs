//! The sections of settings that the processes of the lease and schedule drills read, from their arguments alone.

use anyhow::{Context, Result};
use millrace_coordination::RedisSettings;
use millrace_messaging::KafkaSettings;
use millrace_outbox::{DATABASE_DEFAULTS, DatabaseSettings, RELAY_DEFAULTS, RelaySettings};
use millrace_runtime::settings::{Layers, Problems, Validate, load};
use millrace_scheduler::SchedulerSettings;
use serde::Deserialize;

/// `[database]`, `[redis]`, and what dispatching needs.
#[derive(Debug, Deserialize)]
pub(crate) struct Sections {
    pub(crate) database: DatabaseSettings,
    pub(crate) redis: RedisSettings,
    pub(crate) kafka: KafkaSettings,
    pub(crate) outbox: RelaySettings,
    pub(crate) scheduler: SchedulerSettings,
}

impl Validate for Sections {
    fn validate(&self, problems: &mut Problems) {
        self.database.validate(problems);
        self.redis.validate(problems);
        self.kafka.validate(problems);
        self.outbox.validate(problems);
        self.scheduler.validate(problems);
    }
}

impl Sections {
    /// From `SECTION__KEY=value` texts.
    pub(crate) fn load(texts: &[String]) -> Result<Self> {
        let environment: Vec<(String, String)> = texts
            .iter()
            .map(|text| {
                let pair = text.split_once('=');
                let (key, value) = pair.with_context(|| format!("`{text}` is no KEY=value"))?;
                Ok((format!("DRILL__{key}"), value.to_owned()))
            })
            .collect::<Result<_>>()?;
        let defaults = vec![
            DATABASE_DEFAULTS,
            RELAY_DEFAULTS,
            millrace_coordination::DEFAULTS,
            millrace_messaging::DEFAULTS,
            millrace_scheduler::DEFAULTS,
        ];
        let layers = Layers { defaults, overlay: None, prefix: "DRILL", environment };
        load(&layers).context("reading the settings")
    }
}
