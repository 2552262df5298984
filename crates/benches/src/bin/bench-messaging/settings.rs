//! The product's own settings sections, with the job's values over the defaults.

use anyhow::{Result, anyhow};
use millrace_common::http::{HTTP_DEFAULTS, HttpSettings};
use millrace_common::messaging::KafkaSettings;
use millrace_common::outbox::{DATABASE_DEFAULTS, DatabaseSettings, RELAY_DEFAULTS, RelaySettings};
use millrace_common::runtime::settings::{Layers, Problems, Validate, load};
use millrace_common::telemetry::TelemetrySettings;
use millrace_common::{messaging, telemetry};
use serde::Deserialize;

const PREFIX: &str = "BENCH";

/// What the measured parts are set to.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Settings {
    pub(crate) kafka: KafkaSettings,
    pub(crate) outbox: RelaySettings,
    pub(crate) telemetry: TelemetrySettings,
    pub(crate) http: HttpSettings,
    database: DatabaseSettings,
}

impl Validate for Settings {
    fn validate(&self, problems: &mut Problems) {
        self.kafka.validate(problems);
        self.outbox.validate(problems);
        self.telemetry.validate(problems);
        self.http.validate(problems);
        self.database.validate(problems);
    }
}

impl Settings {
    /// The defaults under `values` (`KAFKA__BROKERS` and its value).
    pub(crate) fn read(values: &[(String, String)]) -> Result<Self> {
        // The section wants them; the pools here are made from the test database's address.
        let unused = ["NAME", "USER"].map(|key| (format!("DATABASE__{key}"), "unused".to_owned()));
        let environment = unused
            .iter()
            .chain(values)
            .map(|(key, value)| (format!("{PREFIX}__{key}"), value.clone()))
            .collect();
        let defaults = vec![
            messaging::DEFAULTS,
            RELAY_DEFAULTS,
            DATABASE_DEFAULTS,
            telemetry::DEFAULTS,
            HTTP_DEFAULTS,
        ];
        load(&Layers { defaults, overlay: None, prefix: PREFIX, environment })
            .map_err(|problems| anyhow!("{problems}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_s_values_lie_over_the_defaults() {
        let values = [("KAFKA__BROKERS", "localhost:1"), ("TELEMETRY__SAMPLE_RATIO", "0.01")];
        let values = values.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let settings = Settings::read(&values).unwrap();
        assert_eq!(settings.kafka.brokers, "localhost:1");
        assert!(settings.telemetry.sample_ratio < 0.02 && settings.outbox.bucket_batch_max > 0);
        assert!(Settings::read(&[("KAFKA__NO_SUCH".to_owned(), "1".to_owned())]).is_err());
    }
}
