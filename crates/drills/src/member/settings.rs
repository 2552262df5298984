//! The sections that a member reads, from its arguments alone.

use anyhow::{Context, Result};
use millrace_messaging::KafkaSettings;
use millrace_outbox::{DATABASE_DEFAULTS, DatabaseSettings, RELAY_DEFAULTS, RelaySettings};
use millrace_runtime::settings::{Layers, Problems, Validate, load};
use serde::Deserialize;

/// `[kafka]`, `[database]` and `[outbox]`.
#[derive(Debug, Deserialize)]
pub(crate) struct Sections {
    pub(crate) kafka: KafkaSettings,
    pub(crate) database: DatabaseSettings,
    pub(crate) outbox: RelaySettings,
}

impl Validate for Sections {
    fn validate(&self, problems: &mut Problems) {
        self.kafka.validate(problems);
        self.database.validate(problems);
        self.outbox.validate(problems);
    }
}

impl Sections {
    /// From `KEY=value` pairs of each section.
    pub(crate) fn load(kafka: &[String], database: &[String]) -> Result<Self> {
        // The section asks for both, whether the member has a database or not.
        let mut environment =
            vec![pair("DATABASE", "NAME=unused")?, pair("DATABASE", "USER=unused")?];
        for (section, pairs) in [("KAFKA", kafka), ("DATABASE", database)] {
            for text in pairs {
                environment.push(pair(section, text)?);
            }
        }
        // A relay of a drill looks often: its work is part of what is waited for.
        environment.push(pair("OUTBOX", "POLL_INTERVAL=200ms")?);
        let defaults = vec![millrace_messaging::DEFAULTS, DATABASE_DEFAULTS, RELAY_DEFAULTS];
        let layers = Layers { defaults, overlay: None, prefix: "DRILL", environment };
        load(&layers).context("reading the settings")
    }
}

fn pair(section: &str, text: &str) -> Result<(String, String)> {
    let (key, value) = text.split_once('=').with_context(|| format!("`{text}` is no KEY=value"))?;
    Ok((format!("DRILL__{section}__{key}"), value.to_owned()))
}
